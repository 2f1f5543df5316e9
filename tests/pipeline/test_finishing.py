"""Finishing: a run that is complete is told, then marked; others are left for the next look."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import orjson
import pytest

from pipeline import keys
from pipeline.catalog import Ledger
from pipeline.errors import Retryable, Unavailable
from pipeline.finishing import finish_complete_runs
from pipeline.run_events import BusEvents
from pipeline.runs import is_complete
from pipeline.storage.folder import FolderStorage
from stages.run import Run
from stages.shard import ShardRow
from tests.pipeline.kit import Clock, make_run


def ledger(tasks: int = 3, pages: int = 3, refused: str = "") -> Ledger:
    row = ShardRow("r", "2026-11-23", "k.txt", 0, 1, tasks=tasks, refused=refused)
    return Ledger((row,), {"ok": pages} if pages else {})


class Away(Exception):
    """The process is gone."""


class World:
    """A lake whose ledger says what a test says; remembers who was told, and what was marked then."""

    def __init__(self, lake: Path) -> None:
        self.storage = FolderStorage(lake)
        self.clock = Clock()
        self.ledgers: dict[str, Ledger] = {}
        self.told: list[str] = []
        self.dies_after_telling = False

    def drop(self, run_id: str, said: Ledger) -> None:
        run = make_run("keywords/k.txt", run_id=run_id)
        self.storage.put(keys.run(run_id), msgspec.json.encode(run))
        self.storage.put(keys.unfinished(run_id), b"{}")
        self.ledgers[run_id] = said

    def ledger(self, run_id: str, run_date: str) -> Ledger:
        assert run_date == "2026-11-23"
        return self.ledgers[run_id]

    def complete(self, run: Run, ledger: Ledger) -> None:
        assert ledger.complete
        assert not is_complete(self.storage, run.run_id)
        self.told.append(run.run_id)
        if self.dies_after_telling:
            raise Away

    def finish(self, **options: Any) -> list[str]:
        return finish_complete_runs(self.storage, self, self, self.clock, **options)  # type: ignore[arg-type]

    def unfinished(self) -> list[str]:
        return list(self.storage.keys(keys.UNFINISHED))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_complete_run_is_told_then_marked_and_no_longer_looked_for(world: World):
    """Whoever hears of it can rely on nothing but the rows; the mark comes after."""
    world.drop("a", ledger())
    assert world.finish() == ["a"]
    assert world.told == ["a"]
    mark = msgspec.json.decode(world.storage.get(keys.complete("a")))
    assert mark == {"run_id": "a", "completed_at": world.clock()}
    assert world.unfinished() == []
    assert world.finish() == []
    assert world.told == ["a"]


@pytest.mark.parametrize("said", [ledger(3, 2), ledger(3, 0), Ledger((), {}), Ledger((), {"ok": 3})])
def test_an_incomplete_run_is_left(world: World, said: Ledger):
    world.drop("a", said)
    world.drop("b", ledger())
    assert world.finish() == ["b"]
    assert world.unfinished() == [keys.unfinished("a")]
    assert not is_complete(world.storage, "a")


def test_a_refused_run_is_complete_too(world: World):
    """Nothing is asked of it; somebody waits to hear that."""
    world.drop("a", ledger(0, 0, "no column is named keyword"))
    assert world.finish() == ["a"]


def test_a_death_between_telling_and_marking_tells_twice_and_marks_once(world: World):
    world.drop("a", ledger())
    world.dies_after_telling = True
    with pytest.raises(Away):
        world.finish()
    assert not is_complete(world.storage, "a")
    world.dies_after_telling = False
    assert world.finish() == ["a"]
    assert world.told == ["a", "a"]


def test_a_run_that_is_marked_is_not_told_again(world: World):
    """A drop delivered once more, or a death before the last step, leaves a name: it is only removed."""
    world.drop("a", ledger())
    world.finish()
    mark = world.storage.get(keys.complete("a"))
    world.storage.put(keys.unfinished("a"), b"{}")
    world.clock.now += 60
    assert world.finish() == []
    assert world.told == ["a"]
    assert world.storage.get(keys.complete("a")) == mark
    assert world.unfinished() == []


def test_a_mark_without_a_run_is_left(world: World):
    """The drop is on its way."""
    world.storage.put(keys.unfinished("a"), b"{}")
    assert world.finish() == []
    assert world.unfinished() == [keys.unfinished("a")]


def test_out_of_time_the_rest_waits(world: World):
    for run_id in "abc":
        world.drop(run_id, ledger())
    assert world.finish(stopped=lambda: len(world.told) == 2) == ["a", "b"]
    assert world.finish() == ["c"]


class Bus:
    """EventBridge's client, with the answers of a test."""

    def __init__(self, *codes: str) -> None:
        self.codes = list(codes)
        self.entries: list[dict[str, Any]] = []
        self.meta = SimpleNamespace(region_name="x")

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803  # boto3's name
        self.entries += Entries
        failed = [{"ErrorCode": code, "ErrorMessage": "so it is"} for code in self.codes]
        return {"FailedEntryCount": len(failed), "Entries": failed or [{"EventId": "1"}]}


def test_the_event_says_what_became_of_the_run():
    bus = Bus()
    shards = (ShardRow("r", "d", "k", 0, 2, tasks=4), ShardRow("r", "d", "k", 1, 2, tasks=2))
    run = make_run("keywords/x/k.csv", run_id="r", refused="")
    BusEvents(bus, "default", "serpline").complete(run, Ledger(shards, {"ok": 5, "failed": 1}))  # type: ignore[arg-type]
    [entry] = bus.entries
    detail = orjson.loads(entry.pop("Detail"))
    assert entry == {"Source": "serpline", "DetailType": "Run complete", "EventBusName": "default"}
    assert detail == {
        "name": "serpline",
        "run_id": "r",
        "file": "k.csv",
        "key": "keywords/x/k.csv",
        "run_date": "2026-11-23",
        "refused": "",
        "tasks": 6,
        "pages": {"ok": 5, "refused": 0, "failed": 1},
    }


@pytest.mark.parametrize(
    ("code", "error"), [("ThrottlingException", Unavailable), ("InternalFailure", Unavailable)]
)
def test_an_event_that_the_bus_did_not_take_is_an_error(world: World, code: str, error: type[Retryable]):
    """Its call succeeds all the same; the run stays unfinished, so that it is told at the next look."""
    world.drop("a", ledger())
    events = BusEvents(Bus(code), "default", "serpline")  # type: ignore[arg-type]
    with pytest.raises(error, match="EventBridge"):
        finish_complete_runs(world.storage, world, events, world.clock)  # type: ignore[arg-type]
    assert world.unfinished() == [keys.unfinished("a")]
    assert not is_complete(world.storage, "a")
