"""What the operator said of a run, and what a fetch does about it."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pipeline import keys
from pipeline.backlog import Released, Room, release
from pipeline.errors import Permanent, Unreadable
from pipeline.metrics import MemoryMetrics
from pipeline.pending import in_backlog
from pipeline.permission import WATCH
from pipeline.queues.memory import MemoryBroker
from pipeline.queues.names import Queues
from pipeline.queues.protocol import MAX_DELAY
from pipeline.run_control import REMEMBERED, RunControls, Said, said_of, say
from pipeline.runs import load_run
from pipeline.steps.fetch import HOP_LIMIT, PAUSED_WAIT, FetchStep
from pipeline.storage.folder import FolderStorage
from stages.records import Batch, Pointer, Task
from stages.staged import decode_staged
from tests.pipeline.kit import API, LOG, Clock, Engine, make_batch, make_retriever, make_run


class Bench:
    """A fetch step that listens to the operator."""

    def __init__(self, lake: Path) -> None:
        self.clock = Clock()
        self.storage = FolderStorage(lake)
        self.queues = Queues(MemoryBroker(clock=self.clock), "t")
        self.engine = Engine()
        self.runner = asyncio.Runner()
        self.metrics = MemoryMetrics()
        self.step = FetchStep(
            self.storage,
            self.queues,
            make_retriever(self.engine, self.clock, concurrency=1),
            self.runner,
            self.metrics,
            LOG,
            lambda _started: math.inf,
            lane="1",
            controls=RunControls(self.storage, self.clock),
        )

    def fetch(self, batch: Batch) -> None:
        self.step(msgspec.json.encode(batch))

    def say(self, said: Said) -> None:
        say(self.storage, "run1", said, self.clock())

    def batches(self) -> list[Batch]:
        queue = self.queues.fetch(API)
        received = queue.receive(100, wait=0)
        for one in received:
            queue.ack(one)
        return [msgspec.json.decode(one.body, type=Batch) for one in received]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.runner.close()


def test_what_was_said_last_holds(tmp_path: Path):
    storage = FolderStorage(tmp_path)
    assert said_of(storage, "run1") == ""
    for said in ("paused", "cancelled", ""):
        say(storage, "run1", said, 1.0)
        assert said_of(storage, "run1") == said
    assert said_of(storage, "run2") == ""


@pytest.mark.parametrize("raw", [b"", b"{", b'{"said": "stop", "at": 1}'])
def test_a_damaged_record_is_named_not_taken_for_nothing(tmp_path: Path, raw: bytes):
    """A run that was perhaps cancelled is not asked on a guess."""
    storage = FolderStorage(tmp_path)
    storage.put(keys.control("run1"), raw)
    with pytest.raises(Unreadable, match="pause, resume or cancel the run again") as raised:
        said_of(storage, "run1")
    assert raised.value.key == keys.control("run1")


def test_what_was_read_is_remembered_for_five_seconds_at_most(tmp_path: Path):
    """Of each run by itself."""
    storage, clock = FolderStorage(tmp_path), Clock()
    controls = RunControls(storage, clock)
    assert controls.said("run1") == ""
    say(storage, "run1", "paused", clock())
    clock.now += REMEMBERED - 0.1
    assert controls.said("run1") == ""
    clock.now += 0.1
    assert REMEMBERED <= 5.0
    assert controls.said("run1") == "paused"
    assert controls.said("run2") == ""
    assert controls.said("run1") == "paused"


@pytest.mark.parametrize("said", ["paused", "cancelled"])
def test_what_is_said_stops_a_batch_that_is_under_way(tmp_path: Path, said: Said):
    """Within seconds nothing more of the run is asked; what was answered is kept, the rest goes its way."""
    storage, engine = FolderStorage(tmp_path), Engine(clock=time.time)
    queues = Queues(MemoryBroker(clock=time.time), "t")
    batch = make_batch([f"k{n}" for n in range(200)])
    with asyncio.Runner() as runner:
        step = FetchStep(
            storage,
            queues,
            make_retriever(engine, time.time, rate=4, burst=1),
            runner,
            MemoryMetrics(),
            LOG,
            lambda started: started + 40,
            controls=RunControls(storage, time.time),
        )
        speaker = threading.Timer(0.5, say, (storage, "run1", said, time.time()))
        speaker.start()
        began = time.time()
        step(msgspec.json.encode(batch))
        speaker.join()
        assert max(engine.moments) - began < 0.5 + REMEMBERED + 2 * WATCH + 1
        staged = decode_staged(storage.get(keys.staged(batch)))
        assert set(staged.columns.pages.status) == {"ok"}
        assert len(staged.columns.pages.status) == len(engine.asked)
        rest = staged.header.remainder
        assert rest is not None
        asked = len(engine.asked)
        assert {task.attempts + task.refusals for task in rest.tasks} == {0}
        step(msgspec.json.encode(rest))
    assert len(engine.asked) == asked
    ended = storage.find(keys.staged(rest))
    assert (ended is None) == (said == "paused")


def test_a_paused_batch_waits_and_spends_nothing(bench: Bench):
    """It comes again as it was, asks nothing, and goes on where it was when the pause ends."""
    bench.say("paused")
    batch = make_batch(["a", "b"], tasks=(Task("a", attempts=2), Task("b", refusals=1)))
    bench.fetch(batch)
    assert bench.engine.asked == []
    assert list(bench.storage.keys(keys.STAGING)) == []
    bench.clock.now += PAUSED_WAIT - 1
    assert bench.batches() == []
    bench.clock.now += 1
    [again] = bench.batches()
    assert again == batch
    bench.say("")
    bench.fetch(again)
    assert len(bench.engine.asked) == 2


def test_a_pause_of_years_kills_no_batch(bench: Bench):
    """Each look at it sends it again: that is no reason to give it up, however many there were."""
    bench.say("paused")
    batch = make_batch(["a"], hop=HOP_LIMIT)
    for _ in range(3):
        bench.fetch(batch)
        bench.clock.now += PAUSED_WAIT
        assert bench.batches() == [batch]


def test_waits_as_long_as_a_queue_has_them_are_not_counted(bench: Bench):
    """A quota of one request a day sends the last of a few hundred again for years; a short wait counts."""
    for early, hops in ((MAX_DELAY, 0), (40 * 86_400.0, 0), (MAX_DELAY - 1, 1)):
        batch = make_batch(["a"], not_before=bench.clock() + early)
        bench.fetch(batch)
        bench.clock.now += MAX_DELAY
        assert bench.batches() == [msgspec.structs.replace(batch, hop=hops)]
    with pytest.raises(Permanent, match="waited 20000 times"):
        bench.fetch(make_batch(["a"], not_before=bench.clock() + 60, hop=HOP_LIMIT))
    assert bench.engine.asked == []


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def shelving(bench: Bench) -> Bench:
    """Where somebody releases a backlog, the step brings the paused batches of a known run back to it."""
    bench.storage.put(keys.run("run1"), msgspec.json.encode(make_run("keywords/k.txt")))
    bench.step = FetchStep(
        bench.storage,
        bench.queues,
        make_retriever(bench.engine, bench.clock, concurrency=1),
        bench.runner,
        bench.metrics,
        LOG,
        lambda _started: math.inf,
        controls=RunControls(bench.storage, bench.clock),
        backlog=True,
    )
    return bench


ROOM = Room(1.0, 6 * 3_600.0)


def test_a_paused_batch_goes_back_into_the_backlog(shelving: Bench):
    """It takes no room of others in the queue; taken back, the pause gives it out again as it was."""
    shelving.say("paused")
    batch = make_batch([], tasks=(Task("a", attempts=2), Task("b", refusals=1)), cut=1)
    shelving.fetch(batch)
    shelving.fetch(batch)
    depth = shelving.queues.fetch(API).depth()
    assert (depth.waiting, depth.in_flight) == (0, 0)
    assert shelving.engine.asked == []
    assert len(list(shelving.storage.keys(keys.BACKLOG))) == 1
    assert release(shelving.storage, shelving.queues, API, ROOM).chunks == 0
    shelving.say("")
    shelving.clock.now += REMEMBERED
    assert release(shelving.storage, shelving.queues, API, ROOM) == Released(1, 2)
    [again] = shelving.batches()
    assert again == msgspec.structs.replace(batch, hop=1)
    shelving.fetch(again)
    assert shelving.engine.asked == [("a", 1), ("b", 1)]
    assert list(shelving.storage.keys(keys.BACKLOG)) == []


def test_a_paused_run_leaves_the_room_to_others(shelving: Bench):
    """Its batches fill the queue when it is paused; the next run's backlog is released all the same."""
    small = Room(1.0, 600.0)
    paused = [make_batch([f"{n}-{at}" for at in range(50)], batch_no=n) for n in range(12)]
    shelving.queues.fetch(API).send([msgspec.json.encode(batch) for batch in paused])
    run = make_run("keywords/k.txt", run_id="run2", created_at=1.9e9)
    folder = keys.backlog_of(API, run.created_at, run.run_id)
    for number in range(40):
        other = make_batch([f"other {at}" for at in range(50)], run_id="run2", batch_no=number)
        chunk = keys.backlog_chunk(folder, 0, number, 50)
        shelving.storage.put(chunk, msgspec.json.encode(other) + b"\n")
    shelving.say("paused")
    for batch in shelving.batches():
        shelving.fetch(batch)
    assert release(shelving.storage, shelving.queues, API, small).tasks == 600
    assert {batch.run_id for batch in shelving.batches()} == {"run2"}


def test_a_batch_that_is_paused_again_is_not_lost_to_a_slow_release(shelving: Bench):
    """Released, drawn and paused once more before the release deletes what it sent: it waits on."""
    shelving.say("paused")
    batch = make_batch(["a"])
    shelving.fetch(batch)

    class Slow(FolderStorage):
        def delete(self, key: str) -> None:
            [again] = shelving.batches()
            shelving.say("paused")
            shelving.clock.now += REMEMBERED
            shelving.fetch(again)
            super().delete(key)

    shelving.say("")
    release(Slow(shelving.storage._root), shelving.queues, API, ROOM)
    assert shelving.batches() == []
    assert len(list(shelving.storage.keys(keys.BACKLOG))) == 1
    shelving.say("")
    release(shelving.storage, shelving.queues, API, ROOM)
    assert shelving.batches() == [msgspec.structs.replace(batch, hop=2)]


def test_a_death_before_the_object_is_there_leaves_the_message(shelving: Bench):
    """The step has not returned: nobody deletes the message, and it comes again."""

    class Dying(FolderStorage):
        def put(self, key: str, body: bytes) -> None:  # noqa: ARG002
            raise Killed

    shelving.say("paused")
    shelving.step._storage = Dying(shelving.storage._root)
    with pytest.raises(Killed):
        shelving.fetch(make_batch(["a"]))
    assert shelving.batches() == []


def test_a_paused_batch_of_a_run_without_a_record_waits_in_the_queue(shelving: Bench):
    """There is no folder for it: nothing is lost."""
    say(shelving.storage, "run2", "paused", 1.0)
    batch = make_batch(["a"], run_id="run2")
    shelving.fetch(batch)
    shelving.clock.now += PAUSED_WAIT
    assert shelving.batches() == [batch]
    assert list(shelving.storage.keys(keys.BACKLOG)) == []


def test_a_batch_in_the_backlog_is_known_to_wait(shelving: Bench):
    """Repair sends nothing again that only waits for the pause to end."""
    shelving.say("paused")
    batch = make_batch(["a"], cut=2)
    shelving.fetch(batch)
    run = load_run(shelving.storage, "run1")
    assert in_backlog(shelving.storage, run)(batch)
    assert not in_backlog(shelving.storage, run)(make_batch(["a"], cut=1))


def test_a_cancelled_batch_ends_refused_without_a_request(bench: Bench):
    """Every task is exactly one page that says so, so that the run becomes complete."""
    bench.say("cancelled")
    batch = make_batch([], tasks=(Task("a", attempts=2, refusals=1), Task("b", 3)))
    bench.fetch(batch)
    bench.fetch(batch)
    assert bench.engine.asked == []
    assert bench.batches() == []
    pages = decode_staged(bench.storage.get(keys.staged(batch))).columns.pages
    assert list(pages.keyword) == ["a", "b"]
    assert list(pages.page) == [1, 3]
    assert set(pages.status) == {"refused"}
    assert set(pages.reason) == {"cancelled"}
    assert list(pages.attempts) == [3, 0]
    pointers = [
        msgspec.json.decode(one.body, type=Pointer) for one in bench.queues.results.receive(9, wait=0)
    ]
    assert [pointer.pages for pointer in pointers] == [2, 2]
    assert bench.metrics["pages_refused"] == 2


def test_what_was_staged_before_the_pause_goes_on(bench: Bench):
    """A pause stops asking, not what was answered: its pointer is sent again."""
    batch = make_batch(["a"])
    bench.fetch(batch)
    for said in ("paused", "cancelled"):
        bench.say(said)  # type: ignore[arg-type]
        bench.clock.now += REMEMBERED
        bench.fetch(batch)
    assert len(bench.engine.asked) == 1
    assert len(bench.queues.results.receive(9, wait=0)) == 3
    assert bench.batches() == []


def test_other_runs_go_on(bench: Bench):
    bench.say("cancelled")
    bench.fetch(make_batch(["a"], run_id="run2"))
    bench.fetch(make_batch(["b"]))
    assert bench.engine.asked == [("a", 1)]
