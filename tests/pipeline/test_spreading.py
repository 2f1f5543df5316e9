"""A spread run lasts as long as was said, takes no more than its slots, and ends like any other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import keys
from pipeline.backlog import SOON, BacklogOutlet, Room, release
from pipeline.http_client import Slot
from pipeline.metrics import MemoryMetrics
from pipeline.pending import batches as cut_again
from pipeline.queues.memory import MemoryBroker
from pipeline.queues.names import Queues
from pipeline.run_control import RunControls, say
from pipeline.steps.fetch import FetchStep
from pipeline.steps.shard import Outlet, QueueOutlet, ShardStep
from pipeline.storage.folder import FolderStorage
from stages.records import Batch, Request, Response
from stages.run import Run, ShardTask
from stages.source import Limits
from stages.spread import spread_batch
from stages.staged import read_header
from tests.pipeline.kit import API, LOG, Clock, Engine, make_retriever, make_run

HOUR = 3_600.0


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop of one process on a clock that is told the time: where it would wait, time passes."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._told = clock
        self._clock_resolution = 1e-6
        wait = self._selector.select  # type: ignore[attr-defined]

        def select(timeout: float | None) -> Any:
            clock.now += timeout if timeout else 0.0
            return wait(0)

        self._selector.select = select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._told.now

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        future = self.create_future()
        future.set_result(func(*args))
        return future


class Timed(Engine):
    """An engine that remembers when each run asked."""

    async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
        response = await super().send(request, limits, slot)
        await asyncio.sleep(0.05)
        return response

    def of(self, first: str) -> list[float]:
        """The moments at which keywords that begin so were asked."""
        asked = zip(self.asked, self.moments, strict=True)
        return [moment for (keyword, _), moment in asked if keyword.startswith(first)]


class Bench:
    """A lake, and one worker on a source of so many requests a second."""

    def __init__(self, lake: Path, rate: float = 1.0) -> None:
        self.clock = Clock()
        self.storage = FolderStorage(lake)
        self.queues = Queues(MemoryBroker(clock=self.clock, max_receives=1_000_000), "t")
        self.engine = Timed(clock=self.clock)
        self.runner = asyncio.Runner(loop_factory=lambda: ClockLoop(self.clock))
        self.fetch = FetchStep(
            self.storage,
            self.queues,
            make_retriever(self.engine, self.clock, rate=rate, burst=1, concurrency=1),
            self.runner,
            MemoryMetrics(),
            LOG,
            lambda started: started + 250.0,
            controls=RunControls(self.storage, self.clock),
        )

    def drop(self, run_id: str, words: int, outlet: Outlet | None = None, **fields: object) -> Run:
        """Freeze a run of so many keywords that begin with its id, and shard it."""
        content = "\n".join(f"{run_id} {number}" for number in range(words))
        run = make_run(
            f"keywords/{run_id}/k.txt",
            run_id=run_id,
            size=len(content),
            created_at=self.clock.now,
            **{"batch_size": 100, **fields},
        )
        self.storage.put(run.key, content.encode())
        self.storage.put(keys.run(run_id), msgspec.json.encode(run))
        opened = outlet if outlet is not None else QueueOutlet(self.queues)
        step = ShardStep(self.storage, self.queues, MemoryMetrics(), LOG, opened)
        for part in range(run.parts):
            step(msgspec.json.encode(ShardTask(run_id, part)))
        return run

    def work(self, until: float = 10 * HOUR, on_second: Callable[[], object] = lambda: None) -> None:
        """Take one message after another, of the runs in turns, as fair queues give them.

        Where none is due, time passes.
        """
        queue = self.queues.fetch(API)
        end = self.clock.now + until
        served: dict[str, int] = {}
        while self.clock.now < end and (queue.depth().waiting or any(self.storage.keys(keys.BACKLOG))):
            received = queue.receive(10_000, wait=0)
            if received:
                runs = [msgspec.json.decode(one.body, type=Batch).run_id for one in received]
                turn = min(range(len(received)), key=lambda at: served.get(runs[at], 0))
                served[runs[turn]] = max(served.values(), default=0) + 1
                for at, one in enumerate(received):
                    if at != turn:
                        queue.release(one)
                self.fetch(received[turn].body)
                queue.ack(received[turn])
            else:
                self.clock.now += 1.0
            on_second()

    def drawn(self) -> list[Batch]:
        received = self.queues.fetch(API).receive(10_000, wait=0)
        for one in received:
            self.queues.fetch(API).ack(one)
        return [msgspec.json.decode(one.body, type=Batch) for one in received]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.runner.close()


def test_a_run_of_sixty_lasts_its_hour_and_the_one_beside_it_has_the_rest(bench: Bench):
    """One source, one worker: the spread run takes its slots, a minute apart; the other all that are left."""
    began = bench.clock.now
    bench.drop("slow", 60, spread=HOUR, batch_size=spread_batch(60, HOUR))
    # Batches of ten seconds: one worker then stands for the several that a real fleet has.
    bench.drop("fast", 1_800, batch_size=10)
    bench.work()
    slow, fast = bench.engine.of("slow"), bench.engine.of("fast")
    assert (len(slow), len(fast)) == (60, 1_800)
    assert 57 * 60 <= max(slow) - began <= 63 * 60
    assert 57 * 60 <= max(slow) - min(slow) <= 63 * 60
    # Without the other it takes 1,800 s at one a second; of the spread run about thirty are asked meanwhile.
    meanwhile = len([moment for moment in slow if moment <= max(fast)])
    assert 25 <= meanwhile <= 33
    assert max(fast) - began <= 1.01 * (1_800 + meanwhile)
    # Nothing came before its moment: by minute n no more than n + 1 of them.
    for minute in range(60):
        assert len([moment for moment in slow if moment < began + minute * 60]) <= minute + 1
    assert Counter(bench.engine.asked).most_common(1)[0][1] == 1


def test_alone_a_spread_run_asks_evenly(bench: Bench):
    """No quarter of its time has more than its quarter of the requests, and a batch."""
    began = bench.clock.now
    bench.drop("slow", 400, spread=HOUR, batch_size=spread_batch(400, HOUR))
    bench.work()
    moments = bench.engine.of("slow")
    quarters = Counter(int((moment - began) // (HOUR / 4)) for moment in moments)
    assert set(quarters) == {0, 1, 2, 3}
    assert all(abs(count - 100) <= 10 for count in quarters.values())


def test_a_spread_never_makes_a_source_faster(bench: Bench):
    """Too short a time is the source's own rate."""
    began = bench.clock.now
    bench.drop("slow", 120, spread=10.0, batch_size=spread_batch(120, 10.0))
    bench.work()
    assert max(bench.engine.of("slow")) - began >= 118.0


def test_parts_and_a_repetition_have_the_same_moments(bench: Bench):
    """A part that is sharded again, and repair, cut the same batches for the same moments."""
    run = bench.drop("slow", 90, spread=HOUR, batch_size=2, parts=3)
    first = bench.drawn()
    step = ShardStep(bench.storage, bench.queues, MemoryMetrics(), LOG, QueueOutlet(bench.queues))
    for part in range(3):
        step(msgspec.json.encode(ShardTask("slow", part)))
    assert bench.drawn() == first
    assert [one for part in range(3) for one in cut_again(bench.storage, run, part)] == first
    moments = sorted(batch.not_before - run.created_at for batch in first)
    assert moments[0] == 0.0
    assert 0.9 * HOUR <= moments[-1] < HOUR


def test_a_remainder_is_asked_when_its_turn_comes_and_has_no_new_moment(bench: Bench):
    """What a deadline cuts off keeps the moment of its batch, which has passed."""
    bench.fetch._deadline = lambda started: started + 2.0
    bench.drop("slow", 6, spread=60.0, batch_size=6)
    [batch] = bench.drawn()
    bench.fetch(msgspec.json.encode(batch))
    rest = read_header(bench.storage.get(keys.staged(batch))).remainder
    assert rest is not None
    assert rest.not_before == batch.not_before


def test_a_cancelled_spread_run_ends_at_once(bench: Bench):
    """Its batches wait for no moment any more."""
    bench.drop("slow", 20, spread=6 * HOUR, batch_size=1)
    say(bench.storage, "slow", "cancelled", bench.clock.now)
    began = bench.clock.now
    bench.work()
    assert bench.clock.now - began < 60
    assert bench.engine.asked == []


def test_only_what_is_due_soon_leaves_the_backlog(bench: Bench):
    """On AWS a spread run's batches wait as objects, and come into the queue minutes before their moments."""
    outlet = BacklogOutlet(bench.storage, bench.queues, {API: 1.0}, 6 * HOUR, clock=bench.clock)
    run = bench.drop("slow", 60, outlet, spread=HOUR, batch_size=1)
    room = Room(1.0, 6 * HOUR)
    sent: list[Batch] = []

    def due(batches: list[Batch]) -> bool:
        return all(batch.not_before <= bench.clock.now + SOON + 120 for batch in batches)

    for _ in range(61):
        now = bench.drawn()
        assert due(now)
        sent += now
        release(bench.storage, bench.queues, API, room, now=bench.clock.now)
        bench.clock.now += 60
    assert [batch.batch_no for batch in sent] == list(range(1, 61))
    assert len([batch for batch in sent if batch.not_before <= run.created_at + SOON]) == 11
    assert list(bench.storage.keys(keys.BACKLOG)) == []


def test_a_spread_run_holds_up_nobody_elses_backlog(bench: Bench):
    """What is not due leaves the room to others, and a run that is not spread is released as ever."""
    outlet = BacklogOutlet(bench.storage, bench.queues, {API: 1.0}, 100.0, clock=bench.clock)
    bench.drop("slow", 60, outlet, spread=10 * HOUR, batch_size=1)
    bench.drop("fast", 300, outlet, batch_size=10)
    bench.drawn()
    bench.clock.now += 60
    release(bench.storage, bench.queues, API, Room(1.0, 100.0), now=bench.clock.now)
    assert {batch.run_id for batch in bench.drawn()} == {"fast"}


def test_with_the_backlog_it_lasts_its_hour_too(bench: Bench):
    outlet = BacklogOutlet(bench.storage, bench.queues, {API: 1.0}, 6 * HOUR, clock=bench.clock)
    began = bench.clock.now
    bench.drop("slow", 60, outlet, spread=HOUR, batch_size=1)
    looked = began

    def conduct() -> None:
        nonlocal looked
        if bench.clock.now - looked >= 60:
            looked = bench.clock.now
            release(bench.storage, bench.queues, API, Room(1.0, 6 * HOUR), now=bench.clock.now)

    bench.work(on_second=conduct)
    moments = bench.engine.of("slow")
    assert len(moments) == 60
    assert 57 * 60 <= max(moments) - began <= 63 * 60
