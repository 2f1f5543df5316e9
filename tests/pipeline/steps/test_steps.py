"""The steps, delivery by delivery: what is sent, what is staged, and what a repetition changes (nothing)."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import msgspec
import pytest

from pipeline import keys
from pipeline.catalog import Tables
from pipeline.errors import ObjectMissing, Permanent, StorageUnavailable, Unreadable
from pipeline.iceberg import open_folder_catalog
from pipeline.metrics import MemoryMetrics
from pipeline.queues.memory import MemoryBroker
from pipeline.queues.names import Queues
from pipeline.steps.aggregate import AggregateStep
from pipeline.steps.fetch import HOP_LIMIT, FetchStep, remainder
from pipeline.steps.shard import QueueOutlet, ShardStep
from pipeline.storage.folder import FolderStorage
from stages.records import Batch, Pointer, Task
from stages.run import ShardTask
from stages.shard import ShardRow
from stages.staged import decode_staged, encode_shard_row, encode_staged, read_header
from tests.pipeline.kit import API, LOG, Clock, Engine, each_once, http, make_batch, make_retriever, make_run


class Bench:
    """A lake, queues and steps over an engine without a wire."""

    def __init__(self, lake: Path) -> None:
        self.lake = lake
        self.clock = Clock()
        self.storage = FolderStorage(lake)
        self.queues = Queues(MemoryBroker(clock=self.clock), "t")
        self.metrics = MemoryMetrics()
        self.engine = Engine()
        self.runner = asyncio.Runner()

    def fetch(self, engine: Engine | None = None, deadline: float = math.inf) -> FetchStep:
        self.engine = engine if engine is not None else self.engine
        retriever = make_retriever(self.engine, self.clock, concurrency=1)
        return FetchStep(
            self.storage, self.queues, retriever, self.runner, self.metrics, LOG, lambda _started: deadline
        )

    def shard(self) -> ShardStep:
        return ShardStep(self.storage, self.queues, self.metrics, LOG, QueueOutlet(self.queues))

    def aggregate(self) -> AggregateStep:
        tables = Tables(open_folder_catalog(self.lake))
        tables.create()
        return AggregateStep(self.storage, tables, self.metrics, LOG)

    def drop(self, content: str, **fields: object) -> None:
        run = make_run("keywords/x/k.txt", size=len(content), **fields)
        self.storage.put(run.key, content.encode())
        self.storage.put(keys.run(run.run_id), msgspec.json.encode(run))

    def sent(self, queue: str = "fetch") -> list[bytes]:
        opened = {"fetch": self.queues.fetch(API), "results": self.queues.results}[queue]
        received = opened.receive(100, wait=0)
        for one in received:
            opened.ack(one)
        return [one.body for one in received]

    def batches(self) -> list[Batch]:
        return [msgspec.json.decode(body, type=Batch) for body in self.sent()]

    def pointers(self) -> list[Pointer]:
        return [msgspec.json.decode(body, type=Pointer) for body in self.sent("results")]


@pytest.fixture
def bench(tmp_path: Path):
    made = Bench(tmp_path)
    yield made
    made.runner.close()


def body(batch: Batch) -> bytes:
    return msgspec.json.encode(batch)


SHARD = msgspec.json.encode(ShardTask("run1", 0))


def test_shard_sends_batches_rejects_and_its_row(bench: Bench):
    """A part becomes batches of the run's size, a file of what could not be read, and its row last."""
    bench.drop("\n".join([*(f"k{n}" for n in range(12)), "bad\x00", "k3"]))
    bench.shard()(SHARD)
    assert [len(batch.tasks) for batch in bench.batches()] == [5, 5, 2]
    reject = msgspec.json.decode(bench.storage.get(keys.rejects("run1", 0)))
    assert (reject["line"], reject["reason"]) == (13, "control_character")
    [pointer] = bench.pointers()
    row = msgspec.json.decode(bench.storage.get(pointer.key), type=ShardRow)
    assert (row.lines, row.kept, row.rejected, row.duplicates, row.tasks, row.batches) == (
        14,
        12,
        1,
        1,
        12,
        3,
    )


def test_shard_repeated_sends_the_same_again(bench: Bench):
    """A part that is delivered twice cuts the same batches and the same row."""
    bench.drop("\n".join(f"k{n}" for n in range(12)))
    bench.shard()(SHARD)
    first = (bench.batches(), bench.pointers())
    bench.shard()(SHARD)
    assert (bench.batches(), bench.pointers()) == first


def test_parts_of_a_run_share_its_keywords(bench: Bench):
    """Every keyword is in exactly one part."""
    bench.drop("\n".join(f"k{n}" for n in range(50)), parts=3)
    for part in range(3):
        bench.shard()(msgspec.json.encode(ShardTask("run1", part)))
    keywords = [task.keyword for batch in bench.batches() for task in batch.tasks]
    assert sorted(keywords) == sorted(f"k{n}" for n in range(50))


def test_a_file_that_is_none_is_refused_whole_with_its_reason(bench: Bench):
    """The ledger has a row that says why, and the run is complete with nothing to ask."""
    bench.drop("name,city\nx,y\n", name="k.csv")
    bench.shard()(SHARD)
    assert bench.batches() == []
    [pointer] = bench.pointers()
    row = msgspec.json.decode(bench.storage.get(pointer.key), type=ShardRow)
    assert "keyword" in row.refused
    assert row.tasks == 0
    assert b"file_refused" in bench.storage.get(keys.rejects("run1", 0))


@pytest.mark.parametrize("rubbish", [b"", b"{}", b"\xff", b'{"run_id": 1, "part": 0}'])
def test_a_message_that_is_none_is_permanent(bench: Bench, rubbish: bytes):
    """No repetition makes a message of rubbish."""
    with pytest.raises(Permanent):
        bench.shard()(rubbish)
    with pytest.raises(Permanent):
        bench.fetch()(rubbish)
    assert isinstance(bench.aggregate()([rubbish])[0], Permanent)


def test_a_run_that_does_not_exist_is_named(bench: Bench):
    """A part of an unknown run says which object is missing."""
    with pytest.raises(ObjectMissing) as raised:
        bench.shard()(SHARD)
    assert raised.value.key == keys.run("run1")


def test_a_run_of_another_normaliser_is_not_sharded(bench: Bench):
    """Keywords that would come out otherwise are not mixed into a frozen run."""
    bench.drop("a", normaliser=99)
    with pytest.raises(Permanent, match="normaliser 99"):
        bench.shard()(SHARD)


def test_fetch_stages_one_object_and_points_to_it(bench: Bench):
    """The object holds every page; the pointer says where and how many."""
    bench.fetch()(body(make_batch(["a", "b"])))
    [pointer] = bench.pointers()
    assert pointer.pages == 2
    staged = decode_staged(bench.storage.get(pointer.key))
    assert sorted(staged.columns.pages.keyword) == ["a", "b"]
    assert bench.batches() == []


def test_a_batch_delivered_twice_is_asked_once(bench: Bench):
    """The second delivery finds the object, sends the same pointer and asks nothing."""
    step = bench.fetch()
    step(body(make_batch(["a", "b"])))
    first = bench.pointers()
    step(body(make_batch(["a", "b"])))
    assert bench.pointers() == first
    assert len(bench.engine.asked) == 2


def test_what_was_left_leaves_as_the_next_cut(bench: Bench):
    """Attempts travel in the message; a repeated delivery sends the same remainder, from the object."""
    step = bench.fetch(Engine({"b": [http(500)]}))
    batch = make_batch(["a", "b"])
    for _ in range(2):
        step(body(batch))
        bench.clock.now += 60
        [left] = bench.batches()
        assert left == remainder(batch, (Task("b", attempts=1),))
        assert (left.cut, left.hop) == (1, 0)
        assert [pointer.pages for pointer in bench.pointers()] == [1]


def test_two_copies_of_one_batch_stage_once(bench: Bench):
    """The copy that loses the write forwards the winner's object, not its own memory."""

    class Racing(FolderStorage):
        def find(self, key: str) -> bytes | None:  # noqa: ARG002  # the protocol's argument
            return None  # both copies looked before either wrote

    bench.storage = Racing(bench.lake)
    batch = make_batch(["a", "b"])
    bench.fetch()(body(batch))
    bench.fetch(Engine({"b": [http(500)]}))(body(batch))
    assert len({pointer.key for pointer in bench.pointers()}) == 1
    assert bench.batches() == []
    assert read_header(bench.storage.get(keys.staged(batch))).pages == 2


def test_a_closed_source_makes_the_same_body_wait(bench: Bench):
    """A wait spends no attempt and stages nothing: the body comes again with its hop counted."""
    step = bench.fetch(Engine({"a": [http(429, retry_after="30")]}))
    batch = make_batch(["a", "b"])
    step(body(batch))
    bench.clock.now += 5
    step(body(make_batch(["c", "d"], batch_no=2)))
    bench.clock.now += 60
    first, second = sorted(bench.batches(), key=lambda one: one.batch_no)
    assert (first.cut, first.hop, set(first.tasks)) == (1, 0, {Task("a", refusals=1), Task("b")})
    assert (second.cut, second.hop, second.tasks) == (0, 1, (Task("c"), Task("d")))
    assert len(bench.engine.asked) == 1


def test_waiting_ends_somewhere(bench: Bench):
    """A body that was sent again too often goes to the dead-letter queue instead of circling for ever."""
    step = bench.fetch(deadline=0.0)
    with pytest.raises(Permanent, match="waited"):
        step(body(make_batch(["a"], hop=HOP_LIMIT)))


def test_a_function_out_of_time_stages_what_it_has(bench: Bench):
    """Nothing asked yet: the body goes back whole; the deadline is not a failure."""
    bench.fetch(deadline=0.0)(body(make_batch(["a", "b"])))
    bench.clock.now += 10
    [again] = bench.batches()
    assert (again.cut, again.hop, again.tasks) == (0, 1, (Task("a"), Task("b")))


def test_a_damaged_staged_object_is_reported_not_fetched_over(bench: Bench):
    """What cannot be read is named; asking again would count its pages twice."""
    batch = make_batch(["a"])
    bench.storage.put(keys.staged(batch), b"\x1f\x8b broken")
    with pytest.raises(Unreadable) as raised:
        bench.fetch()(body(batch))
    assert raised.value.key == keys.staged(batch)
    assert bench.engine.asked == []


def test_aggregate_commits_the_good_and_names_the_bad(bench: Bench):
    """Missing, cut, of another version, elsewhere: each is its own message's failure, the rest commits."""
    bench.fetch()(body(make_batch(["a", "b"])))
    good = bench.sent("results")[0]
    raw = bench.storage.get(msgspec.json.decode(good, type=Pointer).key)
    bench.storage.put("staging/run1/0/8-0.json.gz", raw[: len(raw) // 2])
    bench.storage.put("staging/run1/0/9-0.json.gz", b"not gzip")
    outside = [
        "staging/run1/0/8-0.json.gz",
        "staging/run1/0/9-0.json.gz",
        "staging/none",
        "runs/run1/run.json",
    ]
    bodies = [*(msgspec.json.encode(Pointer(key)) for key in outside), good, b"\x00"]
    failed = bench.aggregate()(bodies)
    assert set(failed) == {0, 1, 2, 3, 5}
    assert isinstance(failed[0], Unreadable)
    assert isinstance(failed[1], Unreadable)
    assert isinstance(failed[2], ObjectMissing)
    assert isinstance(failed[3], Permanent)
    assert each_once(bench.lake) == {("a", 1): 1, ("b", 1): 1}


def test_aggregate_repeated_adds_nothing(bench: Bench):
    """Pointers delivered again, alone or with others, leave the table as it was."""
    bench.fetch()(body(make_batch(["a", "b"])))
    bench.fetch()(body(make_batch(["c"], batch_no=2)))
    bench.storage.put(
        keys.staged_shard("run1", 0), encode_shard_row(ShardRow("run1", "2026-11-23", "k", 0, 1, tasks=3))
    )
    first, second = bench.sent("results")
    row = msgspec.json.encode(Pointer(keys.staged_shard("run1", 0)))
    for bodies in ([first, row], [first, second, row], [row, second, first, first]):
        assert bench.aggregate()(bodies) == {}
    assert each_once(bench.lake) == {("a", 1): 1, ("b", 1): 1, ("c", 1): 1}
    ledger = Tables(open_folder_catalog(bench.lake)).ledger("run1", "2026-11-23")
    assert ledger.complete
    assert len(ledger.shards) == 1


def test_an_empty_cut_needs_no_pointer(bench: Bench):
    """A batch of which nothing ended yet has nothing for aggregate."""
    bench.fetch(Engine({"a": [http(500)]}))(body(make_batch(["a"])))
    assert bench.pointers() == []
    assert decode_staged(encode_staged(make_batch([]), [], lane="")).header.pages == 0


def test_answers_that_could_not_be_stored_are_stored_later_not_asked_again(bench: Bench):
    """A storage that is away for a while costs time, never a second round of requests."""

    class Away(FolderStorage):
        outages = 2

        def put_new(self, key: str, body: bytes) -> bool:
            if self.outages:
                self.outages -= 1
                raise StorageUnavailable("away")
            return super().put_new(key, body)

    bench.storage = Away(bench.lake)
    step = bench.fetch(Engine({"b": [http(500)]}))
    batch = body(make_batch(["a", "b"]))
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            step(batch)
    step(batch)
    assert len(bench.engine.asked) == 2
    assert [pointer.pages for pointer in bench.pointers()] == [1]
    bench.clock.now += 60
    assert [left.cut for left in bench.batches()] == [1]
