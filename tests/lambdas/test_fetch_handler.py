"""The fetch function as Lambda calls it: batches asked, staged, and sent on when time is short."""

from __future__ import annotations

import time
from collections import Counter

import msgspec
import pytest

from pipeline import keys
from pipeline.errors import Misuse
from pipeline.functions.fetch import open_fetch
from pipeline.functions.runtime import MARGIN, Handler, queue_function
from pipeline.run_control import say
from stages.staged import decode_staged
from tests.lambdas.kit import (
    FETCH,
    Account,
    Context,
    Engine,
    Said,
    batch_body,
    metrics_of,
)
from tests.pipeline.kit import API, api_source, make_batch, make_run


def fetching(account: Account, engine: Engine, lane: str = "0", **pace: float) -> Handler:
    """The fetch function of one lane, its source pointed at an engine here."""
    account.terms(base_url=engine.url, **pace)  # type: ignore[arg-type]
    account.set("LANE", lane)
    return queue_function(open_fetch)


def test_a_batch_is_asked_staged_and_pointed_to(account: Account, engine: Engine, said: Said):
    """A warm function does the same with its second event, over connections of its own."""
    handler = fetching(account, engine, lane="1")
    for number in (1, 2):
        batch = make_batch(["a", "b"], batch_no=number)
        assert handler(account.event(FETCH, batch_body(batch)), Context()) == {"batchItemFailures": []}
        pages = decode_staged(account.storage.get(keys.staged(batch)))
        assert sorted(pages.columns.pages.keyword) == ["a", "b"]
        assert set(pages.columns.pages.status) == {"ok"}
        assert pages.header.lane == "1"
        [pointer] = account.drawn("serpline-results")
        assert msgspec.json.decode(pointer) == {"key": keys.staged(batch), "pages": 2}
        counted = metrics_of(said()[0])
        assert (counted["source"], counted["pages_ok"]) == (API, 2)
        assert len(counted["latency_ms"]) == 2
    assert len(engine.asked) == 4


def test_a_batch_delivered_twice_is_asked_once(account: Account, engine: Engine):
    handler = fetching(account, engine)
    body = batch_body(make_batch(["a", "b"]))
    assert handler(account.event(FETCH, body, body), Context()) == {"batchItemFailures": []}
    assert len(engine.asked) == 2
    first, second = account.drawn("serpline-results")
    assert first == second


def test_bad_batches_fail_no_neighbour(account: Account, engine: Engine, said: Said):
    """Rubbish and a damaged object are buried with their reasons; the good one is asked."""
    damaged, good = make_batch(["a"]), make_batch(["b"], batch_no=2)
    account.storage.put(keys.staged(damaged), b"broken")
    event = account.event(FETCH, '{"no": "batch"}', batch_body(damaged), batch_body(good))
    assert fetching(account, engine)(event, Context()) == {"batchItemFailures": []}
    assert engine.asked == ["b"]
    assert Counter(account.drawn(f"{FETCH}-dead")) == {b'{"no": "batch"}': 1, batch_body(damaged): 1}
    _, err = said()
    assert "a message of a fetch queue holds no batch" in err
    assert f"staged object {keys.staged(damaged)}" in err


def test_a_time_out_longer_than_a_function_lives_leaves_something_asked(
    account: Account, engine: Engine, said: Said
):
    """A request may take half of an invocation then, and the log says so; nothing waits in vain for ever."""
    longest = api_source().source.spec.limits.timeout
    batch = make_batch(["a", "b"])
    event = account.event(FETCH, batch_body(batch))
    assert fetching(account, engine)(event, Context(MARGIN + longest - 5)) == {"batchItemFailures": []}
    assert sorted(engine.asked) == ["a", "b"]
    assert set(decode_staged(account.storage.get(keys.staged(batch))).columns.pages.status) == {"ok"}
    assert "limits.timeout is longer than half a function's time" in said()[1]


@pytest.mark.timeout(60)
def test_out_of_time_it_stages_what_it_has_and_sends_the_rest(account: Account, engine: Engine):
    """It ends well before Lambda would end it; the remainder goes on where it was, nothing is asked twice."""
    handler = fetching(account, engine, rate=10.0, burst=1)
    handler(account.event(FETCH, batch_body(make_batch(["first"], batch_no=2))), Context())
    engine.asked.clear()
    account.drawn("serpline-results")
    batch = make_batch([f"k{number}" for number in range(40)])
    began = time.monotonic()
    event = account.event(FETCH, batch_body(batch))
    longest = api_source().source.spec.limits.timeout
    assert handler(event, Context(MARGIN + longest + 1.5)) == {"batchItemFailures": []}
    assert time.monotonic() - began < MARGIN / 2
    staged = decode_staged(account.storage.get(keys.staged(batch)))
    done = list(staged.columns.pages.keyword)
    assert 5 <= len(done) <= 20
    assert sorted(done) == sorted(engine.asked)
    rest = staged.header.remainder
    assert rest is not None
    assert (rest.cut, rest.hop) == (1, 0)
    assert sorted([*done, *(task.keyword for task in rest.tasks)]) == sorted(t.keyword for t in batch.tasks)
    assert account.delayed(FETCH) + len(account.drawn(FETCH)) == 1
    assert len(account.drawn("serpline-results")) == 1


def test_without_time_a_batch_goes_back_whole(account: Account, engine: Engine):
    """The second of several batches finds no time left: its body waits, with no attempt spent."""
    event = account.event(FETCH, batch_body(make_batch(["a"])))
    assert fetching(account, engine)(event, Context(MARGIN - 1)) == {"batchItemFailures": []}
    assert engine.asked == []
    assert account.delayed(FETCH) == 1
    assert list(account.storage.keys(keys.STAGING)) == []


def test_a_refusal_is_known_to_the_next_function(account: Account, engine: Engine, said: Said):
    """Lanes share one state: what one is refused, no other asks."""
    engine.status = 403
    event = account.event(FETCH, batch_body(make_batch(["a", "b", "c"])))
    assert fetching(account, engine, rate=5.0, burst=1)(event, Context()) == {"batchItemFailures": []}
    asked = len(engine.asked)
    assert 1 <= asked <= 2
    event = account.event(FETCH, batch_body(make_batch(["d"], batch_no=2)))
    assert fetching(account, engine, lane="1")(event, Context()) == {"batchItemFailures": []}
    assert len(engine.asked) == asked
    assert account.delayed(FETCH) == 2
    assert "source closed" in said()[1]


def test_a_cancelled_run_asks_nothing(account: Account, engine: Engine):
    batch = make_batch(["a"])
    say(account.storage, batch.run_id, "cancelled", time.time())
    fetching(account, engine)(account.event(FETCH, batch_body(batch)), Context())
    assert engine.asked == []
    pages = decode_staged(account.storage.get(keys.staged(batch))).columns.pages
    assert (list(pages.status), list(pages.reason)) == (["refused"], ["cancelled"])


def test_no_contact_no_live_run(account: Account):
    """A source beyond this machine is not asked by nobody in particular."""
    account.terms(base_url="https://search.example")
    event = account.event(FETCH, batch_body(make_batch(["a"])))
    with pytest.raises(Misuse, match="SERPLINE_CONTACT"):
        queue_function(open_fetch)(event, Context())


def test_a_paused_batch_leaves_the_queue_for_the_backlog(account: Account, engine: Engine):
    """Conduct releases it when the run is resumed; until then it takes nobody's room."""
    handler = fetching(account, engine)
    account.storage.put(keys.run("run1"), msgspec.json.encode(make_run("keywords/k.txt")))
    say(account.storage, "run1", "paused", time.time())
    event = account.event(FETCH, batch_body(make_batch(["a"])))
    assert handler(event, Context()) == {"batchItemFailures": []}
    assert len(list(account.storage.keys(keys.backlog(API)))) == 1
    assert account.drawn(FETCH) == []
    assert engine.asked == []
