"""The operator's commands: what they print, what they change, what they refuse, and with which exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from pipeline import redrive as redriving
from pipeline.cli import drop, place
from pipeline.cli.main import main
from pipeline.errors import Misuse
from pipeline.queues.kombu import KombuBroker
from pipeline.run_control import said_of
from pipeline.runs import find_run, is_complete
from stages.run import Run
from tests import servers
from tests.pipeline.kit import API, api_source
from tests.pipeline.mending_kit import World, keywords, stumbling, text

Serpline = Callable[..., tuple[int, str, str]]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "lake")
    made.place = msgspec.structs.replace(made.place, sources={API: api_source()})
    yield made
    made.close()


@pytest.fixture
def serpline(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Serpline:
    """Runs a command in this process on the world's lake and queues, as if a broker carried them."""

    def open_place(_settings: object, *, lake: object, **_: object) -> Any:
        assert str(lake) == str(world.lake)
        return world.place

    monkeypatch.setattr(place, "open_place", open_place)
    monkeypatch.setattr(redriving, "LOOK", 0.0)
    monkeypatch.setenv("SERPLINE_LAKE", str(world.lake))
    monkeypatch.setenv("SERPLINE_BROKER", "redis://127.0.0.1:1")
    monkeypatch.setenv("SERPLINE_SOURCE", API)

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def lost(*stages: str) -> Callable[[str, bytes], str]:
    return lambda stage, _body: "lost" if stage in stages else ""


def dead(*stages: str) -> Callable[[str, bytes], str]:
    return lambda stage, _body: "dead" if stage in stages else ""


def test_repair_tells_what_it_sent_and_then_that_nothing_is_missing(world: World, serpline: Serpline):
    run = world.drop(text(10))
    world.deliver(lost("fetch"))
    code, out, _ = serpline("repair", "run")
    assert code == 0
    assert out.splitlines() == [
        "sent again: 3 batches to be fetched",
        "`serpline status run1 --watch` shows how it goes on",
    ]
    world.deliver()
    assert serpline("repair", "run1")[:2] == (0, "run run1 is complete: nothing is missing\n")
    assert is_complete(world.storage, run.run_id)


def test_settle_closes_a_run_and_refuses_a_complete_one(world: World, serpline: Serpline):
    world.drop(text(10))
    world.deliver(lost("fetch"))
    code, out, _ = serpline("settle", "run1")
    assert (code, out.splitlines()[0]) == (
        0,
        "ended as failed/dead: 10 tasks; sent to be committed: 3 staged objects",
    )
    world.deliver()
    code, out, err = serpline("settle", "run1")
    assert (code, out) == (2, "")
    assert "is complete" in err


def test_redrive_moves_the_dead_of_a_stage_and_of_no_other(world: World, serpline: Serpline):
    world.drop(text(10))
    world.deliver(dead("fetch", "aggregate"))
    assert serpline("redrive", "fetch")[:2] == (0, "3 messages sent again to serpline-fetch-practice_api\n")
    assert world.queues.results.dead().depth().waiting == 1
    assert serpline("redrive", "aggregate", "--rate", "50")[1] == "1 message sent again to serpline-results\n"
    assert serpline("redrive", "shard")[1] == "0 messages sent again to serpline-keywords\n"
    world.deliver()
    assert len(world.each_once()) == 10
    assert serpline("redrive", "fetch", "--source", API)[1].startswith("0 messages")


def test_pause_resume_and_cancel(world: World, serpline: Serpline):
    """A pause keeps, resuming goes on, a cancelled run ends as rows; the state shows what was said."""
    run = world.drop(text(10))
    assert serpline("resume", "run1")[0] == 0
    code, out, _ = serpline("pause", "run1")
    assert code == 0
    assert "`serpline resume run1`" in out
    assert said_of(world.storage, run.run_id) == "paused"
    rounds = 0

    def fate(stage: str, _body: bytes) -> str:
        nonlocal rounds
        rounds += stage == "fetch"
        if rounds == 7:
            assert not world.engine.asked
            assert "the run is paused" in serpline("status", "run1")[1]
            assert "paused: 10 tasks" in serpline("status")[1]
            assert serpline("resume", "run1")[0] == 0
            assert said_of(world.storage, run.run_id) == ""
        return ""

    world.deliver(fate)
    assert len(world.engine.asked) == 10
    for word in ("pause", "resume", "cancel"):
        code, out, err = serpline(word, "run1")
        assert (code, out) == (2, "")
        assert "is complete" in err


def test_what_is_cancelled_stays_so_and_can_be_retried(world: World, serpline: Serpline):
    world.drop(text(6))
    assert serpline("cancel", "run1")[0] == 0
    for word in ("pause", "resume"):
        code, _, err = serpline(word, "run1")
        assert code == 2
        assert "`serpline retry run1 --status refused`" in err
    assert serpline("cancel", "run1")[0] == 0
    world.deliver()
    assert set(world.statuses().values()) == {("refused", "cancelled")}
    code, out, _ = serpline("retry", "run1", "--status", "refused")
    assert code == 0
    world.deliver()
    again = find_run(world.storage, out.strip())
    assert world.ledger(again).pages == {"ok": 6}


def failing(world: World) -> Run:
    """A run of which two tasks failed: page 2 of one keyword, pages 1 and 2 of another."""
    world.engine = stumbling([], 0)
    run = world.drop('{"keyword":"a","pages":3}\n{"keyword":"b","pages":2}\n', "k.jsonl", batch_size=10)
    world.deliver(lost("fetch"))
    world.settle(run)
    world.deliver()
    return run


def test_retry_asks_exactly_the_tasks_that_failed(world: World, serpline: Serpline):
    """Page 2 of a keyword whose page 1 came is asked alone; what was fine is not asked again."""
    world.engine = stumbling([])
    run = world.drop('{"keyword":"a","pages":3}\n{"keyword":"b","pages":2}\n', "k.jsonl", batch_size=2)
    world.deliver(lambda stage, body: "lost" if stage == "fetch" and b'"batch_no":2' in body else "")
    world.settle(run)
    world.deliver()
    assert sorted(world.engine.asked) == [("a", 1), ("a", 2), ("b", 2)]
    world.engine.asked.clear()
    code, out, err = serpline("retry", "run1")
    assert code == 0
    assert "2 tasks of run run1 again" in err
    world.deliver()
    assert sorted(world.engine.asked) == [("a", 3), ("b", 1)]
    again = find_run(world.storage, out.strip())
    assert again.by == "workers"
    assert world.ledger(again).complete
    assert world.ledger(again).pages == {"ok": 2}
    # The same again while nothing new failed: there is nothing to retry of the second run.
    code, _, err = serpline("retry", again.run_id)
    assert code == 2
    assert "nothing to retry" in err


def test_retry_without_a_broker_writes_the_file(
    world: World, serpline: Serpline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    failing(world)
    monkeypatch.delenv("SERPLINE_BROKER")
    code, _, err = serpline("retry", "run1")
    assert code == 2
    assert "--broker" in err
    assert "--file" in err
    path = tmp_path / "again.jsonl"
    code, out, _ = serpline("retry", "run1", "--status", "failed", "--file", path)
    assert code == 0
    assert f"`serpline run {path}`" in out
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert sorted((row["keyword"], row["page"]) for row in rows) == [
        ("a", 1),
        ("a", 2),
        ("a", 3),
        ("b", 1),
        ("b", 2),
    ]
    assert {(row["source"], row["locale"], row["device"]) for row in rows} == {(API, "en-US", "desktop")}
    # What is there is not overwritten, and another status has nothing.
    assert serpline("retry", "run1", "--file", path)[0] == 2
    assert serpline("retry", "run1", "--status", "ok", "--file", tmp_path / "none.jsonl")[0] == 2
    assert not (tmp_path / "none.jsonl").exists()


def test_trace_shows_each_hop(world: World, serpline: Serpline):
    """Line, part, batch, cuts with what happened, the row; in any spelling of the keyword."""
    world.engine = stumbling(["keyword 2"], 2)
    world.drop(text(10))
    world.deliver()
    code, out, _ = serpline("trace", " keyword  2 ", "run1")
    assert code == 0
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == "run run1  k.txt, line 3"
    assert "part 0" in lines
    assert f"page 1 of {API}, en-US, desktop: batch 1" in lines
    assert "left for cut 1 (1 failed, 0 refused requests so far)" in lines
    assert "left for cut 2 (2 failed, 0 refused requests so far)" in lines
    assert "ok, 3 requests" in lines
    assert any(line.startswith("row: ok, HTTP 200, 3 requests, 20") for line in lines)
    code, out, _ = serpline("trace", "keyword 2", "--format", "json")
    [traced] = orjson.loads(out)
    [task] = traced["tasks"]
    assert [one["status"] for one in task["staged"]] == ["left", "left", "ok"]
    assert [(row["cut"], row["status"]) for row in task["rows"]] == [(2, "ok")]
    assert task["now"] == "in the table"


def test_trace_says_where_a_task_is_that_has_no_row(world: World, serpline: Serpline):
    """Lost, in the backlog, paused, staged, in a part that is not sharded, rejected."""
    world.horizon = 8.0
    world.drop(text(20))
    world.deliver(lost("fetch"))
    assert "to be fetched: where the queue is empty" in serpline("trace", "keyword 1", "run1")[1]
    assert "in the backlog, backlog/practice_api/" in serpline("trace", "keyword 15", "run1")[1]
    serpline("pause", "run1")
    assert "(the run is paused)" in serpline("trace", "keyword 1", "run1")[1]
    world.drop(text(4), run_id="run2")
    world.deliver(lost("aggregate"))
    out = serpline("trace", "keyword 1", "run2")[1]
    assert "not committed yet" in out
    assert "part 0, not in the ledger yet" in out
    world.drop("keyword,source\nkeyword 1,nowhere\n", "k.csv", run_id="run3")
    world.deliver()
    assert "line 2 was rejected: unknown_source" in serpline("trace", "keyword 1", "run3")[1]
    world.drop(text(4), run_id="run4", parts=3)
    world.deliver(lost("shard"))
    assert "not sharded yet" in serpline("trace", "keyword 1", "run4")[1]
    code, out, _ = serpline("trace", "keyword 1", "--format", "json")
    assert code == 0
    assert {one["run_id"] for one in orjson.loads(out)} == {"run1", "run2", "run3", "run4"}


def test_trace_of_what_no_file_has_is_1(world: World, serpline: Serpline):
    world.drop(text(4))
    world.deliver()
    assert serpline("trace", "nobody asks", "run1")[:2] == (1, "")
    code, out, err = serpline("trace", "nobody asks", "--format", "json")
    assert (code, out) == (1, "[]\n")
    assert "no run has a line with the keyword 'nobody asks'" in err


def test_trace_of_a_run_made_here_outlives_its_staged_objects(world: World, serpline: Serpline):
    run = world.drop(text(4), by="here")
    world.deliver()
    for key in world.staged():
        world.storage.delete(key)
    out = serpline("trace", "keyword 1", run.run_id)[1]
    assert "row: ok" in out
    assert "waits" not in out


def test_status_marks_what_is_complete(world: World, serpline: Serpline):
    """Whoever looks first writes it down, so that the next drop of the file is a run of its own."""
    run = world.drop(text(4))
    assert serpline("status", "run1")[0] == 1
    world.deliver()
    assert not is_complete(world.storage, run.run_id)
    assert serpline("status")[0] == 0
    assert is_complete(world.storage, run.run_id)
    assert serpline("status", "run1")[0] == 0


def test_submit_sends_the_parts_and_the_same_again_is_the_same_run(
    world: World, serpline: Serpline, tmp_path: Path
):
    path = tmp_path / "list.txt"
    path.write_text(text(10))
    code, first, _ = serpline("submit", path)
    assert code == 0
    assert serpline("submit", path)[1] == first
    world.deliver()
    assert len(world.engine.asked) == 10
    assert serpline("submit", path)[1] != first


@pytest.mark.timeout(60)
def test_the_commands_on_a_real_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """What submit sends on Redis is found again: buried, redriven, repaired."""
    try:
        server = servers.start_redis(tmp_path)
    except servers.Missing as missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(missing))
    for name, value in {"BROKER": server.url, "LAKE": str(tmp_path / "lake"), "SOURCE": API}.items():
        monkeypatch.setenv(f"SERPLINE_{name}", value)
    try:
        path = tmp_path / "list.txt"
        path.write_text(text(3))
        assert main(["submit", str(path)]) == 0
        run_id = capsys.readouterr().out.strip()
        broker = KombuBroker(server.url, max_receives=5, visibility=900.0)
        queue = broker.queue("serpline-keywords")
        [part] = queue.receive(1, wait=2.0)
        queue.bury(part, reason="killed")
        assert main(["redrive", "shard"]) == 0
        assert capsys.readouterr().out == "1 message sent again to serpline-keywords\n"
        assert main(["repair", run_id[:6]]) == 0
        assert "1 part to be sharded" in capsys.readouterr().out
        assert sorted({one.body for one in queue.receive(5, wait=2.0)}) == [part.body]
        assert main(["settle", run_id]) == 2
        broker.close()
    finally:
        server.stop()


MISUSES = {
    "an unknown run": ["repair", "nobody"],
    "an ambiguous run": ["settle", "run"],
    "a stage that is none": ["redrive", "compact"],
    "a source for another stage": ["redrive", "shard", "--source", API],
    "a rate of nothing": ["redrive", "shard", "--rate", "0"],
    "a status that is none": ["retry", "run1", "--status", "failed,lost"],
    "no status": ["retry", "run1", "--status", ""],
    "a file of another kind": ["retry", "run1", "--file", "again.csv"],
    "a keyword to trace in no run": ["trace", "a", "nobody"],
    "a run on AWS that is asked here": ["run", "x.txt", "--lake", "s3://bucket"],
    "a broker on AWS": ["submit", "x.txt", "--lake", "s3://bucket", "--broker", "redis://x"],
    "a lake that is no bucket": ["status", "--lake", "s3://bucket/folder"],
    "no lake": ["pause", "run1", "--lake", "nowhere"],
}


@pytest.mark.parametrize("words", MISUSES.values(), ids=MISUSES.keys())
def test_misuse_is_one_line_and_2(world: World, serpline: Serpline, words: list[str]):
    world.drop(text(4))
    world.drop(text(4), run_id="run2")
    code, out, err = serpline(*words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert err.startswith("serpline: ")


def test_the_words_of_a_drop_are_checked_before_it_is_stored(world: World, tmp_path: Path):
    with pytest.raises(Misuse, match="cannot be read"):
        drop.content_hash(tmp_path / "missing.csv")
    assert not list(world.storage.keys("keywords/"))


def test_every_keyword_of_a_run_can_be_traced(world: World, serpline: Serpline):
    world.drop(text(7), parts=2)
    world.deliver()
    for keyword in keywords(7):
        assert "row: ok" in serpline("trace", keyword, "run1")[1]
