"""The drop step's other messages: schedules, keywords by themselves, and what is neither."""

from __future__ import annotations

import pytest

from pipeline.errors import ObjectMissing, Permanent
from pipeline.runs import load_run
from stages.run import Options
from tests.pipeline.kit import API
from tests.pipeline.steps.drop_kit import Bench, message, notification, record


def test_a_scheduled_drop_twice_is_one_run_of_the_version_it_found(bench: Bench):
    """The schedule's moment names the run; its first delivery settles which version is meant."""
    bench.storage.drop("lists/daily.txt", b"old\n")
    drop = message(
        key="lists/daily.txt", drop="2026-11-23T06:00:00Z", source=API, locale="de", device="tablet", pages=2
    )
    bench(drop)
    bench.storage.drop("lists/daily.txt", b"new\n")
    bench(drop)
    [run] = bench.runs()
    assert (run.version, run.options) == ("v1", Options(API, "de", "tablet", 2))
    assert bench.keywords() == ["old", "old"] * 2
    bench(message(key="lists/daily.txt", drop="2026-11-24T06:00:00Z"))
    assert len(bench.runs()) == 2
    assert bench.keywords() == ["new"]


def test_a_drop_that_is_told_again_when_its_list_is_gone_is_still_its_run(bench: Bench):
    """What was frozen is read from the run: a late repetition asks nothing of the list."""
    bench.storage.drop("lists/daily.txt", b"one\n")
    daily = message(key="lists/daily.txt", drop="2026-11-23T06:00:00Z")
    bench(daily)
    bench.storage.delete("lists/daily.txt")
    bench(daily)
    assert len(bench.runs()) == 1
    assert bench.keywords() == ["one", "one"]


def test_a_scheduled_drop_of_nothing_is_named(bench: Bench):
    with pytest.raises(ObjectMissing) as raised:
        bench(message(key="lists/none.txt", drop="2026-11-23T06:00:00Z"))
    assert raised.value.key == "lists/none.txt"


def test_keywords_by_themselves_are_a_run_and_twice_the_same(bench: Bench):
    """Named by the sender, or else by what it sent."""
    named = message(run_id="mine", keywords=["größe", "b\nc", "größe"], pages=2)
    for _ in range(2):
        bench(named)
        assert bench.keywords() == ["größe", "größe", "b c", "b c"]
    assert load_run(bench.storage, "mine").options.pages == 2
    for body in (message(keywords=["x"]), message(keywords=["x"]), message(keywords=["x"], pages=2)):
        bench(body)
    assert len(bench.runs()) == 3


def test_messages_say_how_long_their_runs_last(bench: Bench):
    """A schedule and a list of keywords, as a folder does; a spread that is none refuses the run."""
    bench.storage.drop("lists/daily.txt", b"one\n")
    bench(message(key="lists/daily.txt", drop="2026-11-23T06:00:00Z", spread="90m"))
    bench(message(run_id="mine", keywords=["x"], spread="2d"))
    bench(message(run_id="wrong", keywords=["x"], spread="2 weeks"))
    assert sorted(run.spread for run in bench.runs()) == [0.0, 5_400.0, 2 * 86_400.0]
    assert load_run(bench.storage, "mine").spread == 2 * 86_400.0
    assert load_run(bench.storage, "wrong").refused.startswith("'2 weeks' is no spread")


def test_a_run_id_is_good_for_one_list_of_keywords(bench: Bench):
    """Other keywords under the same id would be lost: they are refused, loudly."""
    bench(message(run_id="mine", keywords=["a"]))
    with pytest.raises(Permanent, match="run mine was made of other keywords"):
        bench(message(run_id="mine", keywords=["b"]))
    bench.storage.drop("keywords/k.txt", b"k\n")
    bench(notification(record("keywords/k.txt", "v1")))
    [dropped] = [run for run in bench.runs() if run.run_id != "mine"]
    with pytest.raises(Permanent, match=r"was made of keywords/k\.txt"):
        bench(message(run_id=dropped.run_id, keywords=["b"]))
    assert bench.keywords() == ["a", "k"]


@pytest.mark.parametrize("run_id", ["", "../x", "a b", "-a", "a" * 65, "a/b", "é"])
def test_a_run_id_that_is_none_is_permanent(bench: Bench, run_id: str):
    with pytest.raises(Permanent, match="run_id takes up to 64 letters"):
        bench(message(run_id=run_id, keywords=["a"]))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "is a JSON object"),
        (b"{}", "this one has nothing"),
        (b'{"hello": 1}', "this one has hello"),
        (b'{"keywords": "a"}', r"Expected `array`.*keywords"),
        (b'{"Records": 5}', "Expected `array`"),
        (b'{"drop": "now"}', "missing required field `key`"),
        (b'{"run_id": "a", "part": "0"}', "this one has part, run_id"),
        (b'{"key": "lists/../x", "drop": "now"}', "no key of this lake"),
        (b'{"key": "../x", "drop": "now"}', "drops a file below lists/"),
        (b'{"key": "keywords/x", "drop": "now"}', "drops a file below lists/"),
    ],
)
def test_a_message_of_no_known_kind_is_permanent_and_says_why(bench: Bench, body: bytes, sentence: str):
    with pytest.raises(Permanent, match=sentence):
        bench(body)
    assert bench.runs() == []
