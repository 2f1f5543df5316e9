"""What the operator said of a run, and what a fetch does about it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pipeline import keys
from pipeline.errors import Unreadable
from pipeline.metrics import MemoryMetrics
from pipeline.queues.memory import MemoryBroker
from pipeline.queues.names import Queues
from pipeline.run_control import REMEMBERED, RunControls, Said, said_of, say
from pipeline.steps.fetch import PAUSED_WAIT, FetchStep
from pipeline.storage.folder import FolderStorage
from stages.records import Batch, Pointer, Task
from stages.staged import decode_staged
from tests.pipeline.kit import API, LOG, Clock, Engine, make_batch, make_retriever


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


def test_a_paused_batch_waits_and_spends_nothing(bench: Bench):
    """It comes again with its hop counted, asks nothing, and goes on where it was when the pause ends."""
    bench.say("paused")
    batch = make_batch(["a", "b"], tasks=(Task("a", attempts=2), Task("b", refusals=1)))
    bench.fetch(batch)
    assert bench.engine.asked == []
    assert list(bench.storage.keys(keys.STAGING)) == []
    bench.clock.now += PAUSED_WAIT - 1
    assert bench.batches() == []
    bench.clock.now += 1
    [again] = bench.batches()
    assert again == msgspec.structs.replace(batch, hop=1)
    bench.say("")
    bench.fetch(again)
    assert len(bench.engine.asked) == 2


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
