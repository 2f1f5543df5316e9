"""The functions as Lambda calls them: events in, partial responses and metrics out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from pipeline import keys
from pipeline.errors import CatalogUnavailable, Misuse, StorageUnavailable
from pipeline.functions.runtime import MARGIN, Handler, Opened, Remaining, queue_function
from pipeline.functions.shard import open_shard
from pipeline.runs import all_runs
from pipeline.worker import BatchHandler, one_by_one
from stages.records import Pointer
from tests.lambdas.kit import (
    FETCH,
    Account,
    Context,
    Said,
    batches,
    metrics_of,
)


def test_a_dropped_file_is_sharded(account: Account, said: Said):
    """One event from S3: a frozen run, its batches, its row; metrics in the log."""
    handler = queue_function(open_shard)
    event = account.event("serpline-keywords", account.drop("keywords/k.txt", b"one\ntwo\ntwo\n"))
    assert handler(event, Context(900)) == {"batchItemFailures": []}
    [run] = all_runs(account.storage)
    [batch] = batches(account.drawn(FETCH))
    assert (batch.run_id, [task.keyword for task in batch.tasks]) == (run.run_id, ["one", "two"])
    [pointer] = [msgspec.json.decode(body, type=Pointer) for body in account.drawn("serpline-results")]
    assert pointer.key == keys.staged_shard(run.run_id, 0)
    out, err = said()
    counted = metrics_of(out)
    assert (counted["stage"], counted["tasks"], counted["duplicates"]) == ("shard", 2, 1)
    assert counted["lag_s"][0] >= 0
    logged = [json.loads(line) for line in err.splitlines()]
    assert {line["request_id"] for line in logged} == {"request-1"}
    assert any(line["event"] == "part sharded" and line["run_id"] == run.run_id for line in logged)


def test_one_bad_record_fails_no_neighbour_and_is_buried_with_its_reason(account: Account, said: Said):
    """What cannot be read goes to the dead-letter queue at once; what may pass is reported by itself."""
    account.storage.put(keys.run("bad"), b"{")
    good = account.drop("keywords/k.txt", b"one\n")
    event = account.event(
        "serpline-keywords", good, '{"hello": 1}', '{"run_id": "bad", "part": 0}', '{"keywords": ["x"]}'
    )
    assert queue_function(open_shard)(event, Context()) == {"batchItemFailures": []}
    keywords = [task.keyword for batch in batches(account.drawn(FETCH)) for task in batch.tasks]
    assert sorted(keywords) == ["one", "x"]
    assert sorted(account.drawn("serpline-keywords-dead")) == [
        b'{"hello": 1}',
        b'{"run_id": "bad", "part": 0}',
    ]
    out, err = said()
    failed = [json.loads(line) for line in err.splitlines() if "message failed" in line]
    assert ["this one has hello" in line["error"] for line in failed] == [True, False]
    assert "the record of run bad is damaged" in failed[1]["error"]
    assert metrics_of(out)["messages_failed"] == 0


def failing(fail: Callable[[bytes], None]) -> Handler:
    """A function in the deployment whose step fails as a test wants."""

    def open_failing(remaining: Remaining) -> tuple[Opened, BatchHandler]:
        return open_shard(remaining)[0], one_by_one(fail)

    return queue_function(open_failing)


def test_what_may_pass_is_reported_by_itself_and_buried_at_last(account: Account, said: Said):
    """Lambda gets its id back and its neighbour's not; the fifth time it is buried with the reason."""

    def fail(body: bytes) -> None:
        if body == b'"later"':
            raise StorageUnavailable("away")

    event = account.event("serpline-keywords", '"later"', '"ok"')
    [later] = [record for record in event["Records"] if record["body"] == '"later"']
    handler = failing(fail)
    assert handler(event, Context(MARGIN)) == {"batchItemFailures": [{"itemIdentifier": later["messageId"]}]}
    assert account.drawn("serpline-keywords-dead") == []
    assert metrics_of(said()[0])["messages_failed"] == 1
    later["attributes"]["ApproximateReceiveCount"] = "5"
    assert handler({"Records": [later]}, Context(MARGIN)) == {"batchItemFailures": []}
    assert account.drawn("serpline-keywords-dead") == [b'"later"']
    out, err = said()
    assert metrics_of(out)["messages_failed"] == 0
    assert "away" in err


def test_a_defect_is_reported_with_its_place_and_buries_nothing(account: Account, said: Said):
    def fail(body: bytes) -> None:
        raise ZeroDivisionError(body.decode())

    event = account.event("serpline-keywords", '"a"', '"b"')
    failed = {record["messageId"] for record in event["Records"]}
    reported = failing(fail)(event, Context(MARGIN))["batchItemFailures"]
    assert {one["itemIdentifier"] for one in reported} == failed
    _, err = said()
    assert err.count("Traceback") == 2


def test_an_outage_reports_every_message_and_is_logged_once(account: Account, said: Said):
    """A stage that works on all at once, as aggregate does: none of them is done, none is to blame."""

    def open_away(remaining: Remaining) -> tuple[Opened, BatchHandler]:
        def away(_bodies: Sequence[bytes]) -> Mapping[int, Exception]:
            raise CatalogUnavailable("the catalog is away")

        return open_shard(remaining)[0], away

    event = account.event("serpline-results", '"a"', '"b"')
    assert len(queue_function(open_away)(event, Context(MARGIN))["batchItemFailures"]) == 2
    assert account.drawn("serpline-results-dead") == []
    assert said()[1].count("the catalog is away") == 1


def test_an_opening_that_failed_is_tried_again(account: Account):
    """A wrong setting fails the invocation, so that nothing is lost; the next one is opened anew."""
    handler = queue_function(open_shard)
    account.set("TERMS", '{"nobody": {"rate": 1}}')
    event = account.event("serpline-keywords", '{"keywords": ["x"]}')
    with pytest.raises(Misuse, match="no source file for nobody"):
        handler(event, Context())
    account.terms()
    assert handler(event, Context()) == {"batchItemFailures": []}
    assert len(account.drawn(FETCH)) == 1


@pytest.mark.parametrize(
    "event", [{}, None, [], {"action": "ledger"}, {"Records": []}, {"Records": [{"eventSource": "aws:s3"}]}]
)
def test_an_event_of_something_else_is_answered(account: Account, said: Said, event: Any):
    """Nobody's message is lost by it, and nothing is done for it."""
    assert queue_function(open_shard)(event, Context()) == {"batchItemFailures": []}
    _, err = said()
    assert "event ignored" in err
    assert list(account.storage.keys("")) == []
