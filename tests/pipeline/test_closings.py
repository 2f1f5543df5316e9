"""Closings: each closing and reopening is one line of the log and one row, whoever dies on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from pipeline import keys
from pipeline.catalog import Tables
from pipeline.closings import clear_told
from pipeline.errors import ObjectMissing, StorageUnavailable
from pipeline.iceberg import open_folder_catalog
from pipeline.local import run_here
from pipeline.metrics import MemoryMetrics
from pipeline.pacers.folder import FolderPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.practice.faults import Fault
from pipeline.practice.server import PracticeEngine
from pipeline.queues.memory import MemoryBroker
from pipeline.queues.names import Queues
from pipeline.repair import resend_closings
from pipeline.steps.aggregate import AggregateStep
from pipeline.steps.fetch import FetchStep
from pipeline.storage.folder import FolderStorage
from stages.closings import MOST_UNTOLD, noted
from stages.pace import PaceState
from stages.records import Pointer
from tests.pipeline.kit import API, LOG, Clock, Engine, http, make_batch, make_retriever, table_rows
from tests.pipeline.test_crash_points import Killed, Killer
from tests.pipeline.test_local import frozen, place_for


class Life:
    """One process on a lake: its fetch step, with what it writes watched by a killer."""

    def __init__(self, bench: Bench, killer: Killer) -> None:
        self.runner = asyncio.Runner()
        pacer = Pacer(killer(FolderPaceStore(bench.lake), "change"), bench.clock)
        queues = Queues(bench.broker, "t")
        queues._opened[keys.results_queue("t")] = killer(queues.results, "send")
        self.step = FetchStep(
            killer(FolderStorage(bench.lake), "put_new"),
            queues,
            make_retriever(bench.engine, bench.clock, pacer, concurrency=1, rest=60.0),
            self.runner,
            MemoryMetrics(),
            bench.log,
            lambda _started: float("inf"),
            lane="1",
        )


class Bench:
    """A lake whose engine refuses once, and then answers."""

    def __init__(self, lake: Path) -> None:
        self.lake = lake
        self.clock = Clock()
        self.broker = MemoryBroker(clock=self.clock)
        self.storage = FolderStorage(lake)
        self.engine = Engine({"a": [http(429)]})
        self.lines: list[dict[str, Any]] = []
        self.log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[self._kept])

    def _kept(self, _logger: object, _name: str, line: dict[str, Any]) -> dict[str, Any]:
        self.lines.append(line)
        return line

    def live(self, killer: Killer) -> bool:
        """Ask until nothing waits, or until killed; whether it lived."""
        life = Life(self, killer)
        try:
            life.step.tell(API, look=True)
            life.step(msgspec.json.encode(make_batch(["a", "b"])))
            self.clock.now += 61
            life.step(msgspec.json.encode(make_batch(["c"], batch_no=2)))
        except Killed:
            return False
        finally:
            life.runner.close()
        return True

    def commit(self) -> None:
        """Everything that waits in the results queue, into the tables; twice, as brokers may deliver."""
        tables = Tables(open_folder_catalog(self.lake), sleep=lambda _: None)
        tables.create()
        results = Queues(self.broker, "t").results
        bodies = [one.body for one in results.receive(100, wait=0)]
        for _ in range(2):
            assert AggregateStep(self.storage, tables, MemoryMetrics(), LOG)(bodies) == {}

    def rows(self) -> list[tuple[object, ...]]:
        found = table_rows(self.lake, "event", "reason", "refusals", "run_id", "lane", table="closings")
        return sorted(found, key=str)

    def state(self) -> PaceState:
        return FolderPaceStore(self.lake).read(API)

    def staged(self) -> list[str]:
        return list(self.storage.keys(keys.staged_closings()))

    def told(self) -> list[str]:
        """The lines of the log that tell of the source as a whole."""
        return [line["event"] for line in self.lines if line["event"].startswith("source ")]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    return Bench(tmp_path)


def test_a_closing_and_a_reopening_are_a_row_and_a_line_each(bench: Bench):
    assert bench.live(Killer(0, after=False))
    bench.commit()
    assert bench.rows() == [("closed", "http_429", 1, "run1", "1"), ("reopened", "http_429", 1, "run1", "1")]
    assert bench.told() == ["source closed", "source open again"]
    since = {row[0] for row in table_rows(bench.lake, "closed_since", table="closings")}
    assert len(since) == 1
    assert bench.state().untold == ()


@pytest.mark.parametrize("after", [False, True])
def test_killed_anywhere_the_next_process_tells_what_is_left_once(tmp_path: Path, after: bool):  # noqa: FBT001
    """At every write of state, object and pointer: each event that was stored ends as exactly one row."""
    at, lived = 0, False
    while not lived:
        at += 1
        bench = Bench(tmp_path / f"{at}-{after}")
        lived = bench.live(Killer(at, after=after))
        stored = bool(bench.state().closed_since or bench.state().untold or bench.staged())
        # It is asked about the same things again by others, who find what it stored.
        bench.engine = Engine()
        bench.clock.now += 120
        assert bench.live(Killer(0, after=False))
        bench.commit()
        assert [row[0] for row in bench.rows()] == (["closed", "reopened"] if stored else []), at
        ids = [row[0] for row in table_rows(bench.lake, "id", table="closings")]
        assert len(ids) == len(set(ids))
        assert bench.state().untold == ()
        # Killed between the object and its line, the line is lost; it is never there twice.
        assert max(map(bench.told().count, ("source closed", "source open again"))) <= 1
    assert at > 10


def test_what_cannot_be_told_now_keeps_no_batch_waiting(bench: Bench):
    """Storage or queue fail for the event alone: the batch goes on, and the event is told the next time."""

    class Full(FolderStorage):
        def put_new(self, key: str, body: bytes) -> bool:
            if keys.is_closing(key):
                raise StorageUnavailable("no room")
            return super().put_new(key, body)

    life = Life(bench, Killer(0, after=False))
    life.step._storage = Full(bench.lake)
    life.step(msgspec.json.encode(make_batch(["a", "b"])))
    assert bench.told() == []
    assert "a closing is told later" in [line["event"] for line in bench.lines]
    life.step._storage = bench.storage
    life.step(msgspec.json.encode(make_batch(["c"], batch_no=2)))
    assert bench.told() == ["source closed"]
    life.runner.close()


def test_a_pointer_that_was_lost_is_sent_again_by_repair(bench: Bench):
    """A staged closing that the table lacks is committed; those that it has are left alone."""
    assert bench.live(Killer(0, after=False))
    results = Queues(bench.broker, "t").results
    lost, *_ = [
        one
        for one in results.receive(100, wait=0)
        if keys.is_closing(msgspec.json.decode(one.body, type=Pointer).key)
    ]
    results.ack(lost)
    results.close()
    bench.commit()
    assert len(bench.rows()) == 1
    tables = Tables(open_folder_catalog(bench.lake))
    assert resend_closings(bench.storage, tables, Queues(bench.broker, "t")) == 1
    bench.commit()
    assert len(bench.rows()) == 2
    assert resend_closings(bench.storage, tables, Queues(bench.broker, "t")) == 0


def test_what_nobody_can_tell_any_more_is_said(bench: Bench):
    """One line with how many: a gap in the table has a reason."""
    state = PaceState()
    for at in range(MOST_UNTOLD):
        closed = PaceState(closed_since=at + 1.0, closed_until=at + 2.0, untold=state.untold)
        closed = msgspec.structs.replace(closed, forgotten=state.forgotten)
        state = noted(state, closed, API, at + 1.0)
        state = noted(state, msgspec.structs.replace(state, closed_since=0.0), API, at + 1.5)
    FolderPaceStore(bench.lake).change(API, lambda _state: (state, None))
    life = Life(bench, Killer(0, after=False))
    for _ in range(2):
        life.step.tell(API, look=True)
    life.runner.close()
    said = [line for line in bench.lines if line["event"].startswith("closings were not told")]
    assert [line["closings"] for line in said] == [MOST_UNTOLD]
    assert bench.state().forgotten == 0


def test_told_closings_of_a_folder_are_cleared_and_what_the_table_lacks_is_kept(bench: Bench):
    """Nothing expires there by itself: each repair would list them all."""
    assert bench.live(Killer(0, after=False))
    tables = Tables(open_folder_catalog(bench.lake), sleep=lambda _: None)
    tables.create()
    assert clear_told(bench.storage, tables) == 0
    assert len(bench.staged()) == 2
    again = Queues(bench.broker, "t").results
    pointers = [msgspec.json.encode(Pointer(key)) for key in bench.staged()]
    bench.commit()
    assert clear_told(bench.storage, tables) == 2
    assert bench.staged() == []
    # A pointer that comes once more points to nothing: the row is there, so that it is done.
    again.send(pointers)
    bench.commit()
    assert len(bench.rows()) == 2
    lost = msgspec.json.encode(Pointer(keys.staged_closing(API, "nobody has it")))
    failed = AggregateStep(bench.storage, tables, MemoryMetrics(), LOG)([*pointers, lost])
    assert {at: type(error) for at, error in failed.items()} == {2: ObjectMissing}


def test_a_run_on_this_machine_has_its_closings_in_its_tables(tmp_path: Path, engine: PracticeEngine):
    """Refused once and open again; and what a dead process left untold, of a source that nothing asks."""
    engine.set_faults([Fault("throttle", keywords=("json",), first=1, seconds=1)])
    place = place_for(tmp_path, engine)
    run = frozen(place, ["csv", "json", "re"])
    untold = noted(PaceState(), PaceState(closed_since=5.0, closed_until=65.0), API, 5.0)
    FolderPaceStore(Path(place.lake)).change(API, lambda _state: (untold, None))
    assert run_here(place, run, LOG).ledger.complete
    rows = table_rows(place.lake, "source", "event", "run_id", table="closings")
    assert sorted(rows) == [
        (API, "closed", ""),
        ("practice_page", "closed", "run1"),
        ("practice_page", "reopened", "run1"),
    ]
    assert list(place.storage.keys(keys.staged_closings())) == []
