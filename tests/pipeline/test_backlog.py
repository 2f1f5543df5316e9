"""The backlog: what the rate cannot reach soon waits as objects, and every batch comes out of it."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import keys
from pipeline.backlog import BATCHES_A_CHUNK, BacklogOutlet, Released, Room, release
from pipeline.errors import Permanent
from pipeline.metrics import MemoryMetrics
from pipeline.queues.memory import MemoryBroker
from pipeline.queues.names import Queues
from pipeline.run_control import say
from pipeline.runs import batch_size
from pipeline.steps.shard import ShardStep
from pipeline.storage.folder import FolderStorage
from stages.records import Batch
from stages.run import ShardTask
from tests.pipeline.kit import API, LOG, Clock, make_batch, make_run

RATE = 1.0
SIZE = batch_size(RATE)
"""Tasks of a full batch at that rate."""


class Killed(BaseException):
    """The process is gone."""


class Dying(FolderStorage):
    """A folder whose process dies at its next delete."""

    def delete(self, key: str) -> None:  # noqa: ARG002
        raise Killed


class Bench:
    """A bucket, queues, and room for ``batches`` full batches of one source."""

    def __init__(self, lake: Path, batches: float = 20) -> None:
        self.storage = FolderStorage(lake)
        self.clock = Clock()
        self.queues = Queues(MemoryBroker(clock=self.clock), "t")
        self.room = Room(RATE, batches * SIZE / RATE)

    def shard(
        self, run_id: str, count: int, *, age: int = 0, each: int = SIZE, first: int = 1
    ) -> list[Batch]:
        """Send the batches of a run as a part does, ten at a time."""
        batches = [
            make_batch([f"{n}-{at}" for at in range(each)], run_id=run_id, batch_no=n)
            for n in range(first, first + count)
        ]
        run = make_run("keywords/k.txt", run_id=run_id, created_at=1.8e9 + age)
        sender = BacklogOutlet(self.storage, self.queues, {API: RATE}, self.room.horizon)(run, 0)
        for at in range(0, count, 10):
            sender.send(API, batches[at : at + 10])
        sender.end()
        return batches

    def release(self, **options: Any) -> Released:
        return release(self.storage, self.queues, API, self.room, **options)

    def depth(self) -> int:
        return self.queues.fetch(API).depth().waiting

    def drawn(self, most: int = 10_000) -> list[Batch]:
        """What fetch takes from the queue."""
        queue = self.queues.fetch(API)
        received = queue.receive(most, wait=0)
        for one in received:
            queue.ack(one)
        return [msgspec.json.decode(one.body, type=Batch) for one in received]

    def chunks(self) -> list[str]:
        return list(self.storage.keys(keys.BACKLOG))


def numbers(batches: Sequence[Batch]) -> list[int]:
    return [batch.batch_no for batch in batches]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_what_has_room_is_sent_and_the_rest_waits_in_its_order(bench: Bench):
    """The queue holds what the rate does within the horizon; nothing overtakes what was held back."""
    batches = bench.shard("a", 50)
    assert numbers(bench.drawn()) == list(range(1, 21))
    assert bench.chunks() != []
    released: list[Batch] = []
    while bench.chunks():
        bench.release()
        released += bench.drawn()
    assert released == batches[20:]


def test_a_chunk_that_another_look_took_first_is_passed_over(bench: Bench):
    """Schedules may call twice: the slower one releases what is left, and fails for nothing."""
    bench.shard("a", 60)
    bench.drawn()
    taken = bench.chunks()[0]

    class Slower(FolderStorage):
        def find(self, key: str) -> bytes | None:
            return None if key == taken else super().find(key)

    done = release(Slower(bench.storage._root), bench.queues, API, bench.room)
    assert done.chunks > 0
    assert taken in bench.chunks()


def test_a_damaged_word_about_a_run_keeps_only_that_run_waiting(bench: Bench):
    """What the operator said cannot be read: nothing of that run is asked, and everything of the others."""
    bench.shard("a", 60)
    bench.shard("b", 60, age=1)
    bench.drawn()
    bench.storage.put(keys.control("a"), b"{")
    while bench.release().chunks:
        assert {batch.run_id for batch in bench.drawn()} == {"b"}
    assert all("-a/" in key for key in bench.chunks())
    assert bench.chunks()


def test_a_run_that_fits_needs_no_object(bench: Bench):
    bench.shard("a", 20)
    assert bench.chunks() == []
    assert bench.depth() == 20


def test_every_run_has_its_share_however_long_the_queue_is(bench: Bench):
    """A twentieth of the horizon is every run's own: a short one never waits behind a long one."""
    bench.shard("long", 500)
    assert bench.depth() == 20
    bench.shard("short", 1)
    bench.shard("other", 3)
    sent = Counter(batch.run_id for batch in bench.drawn())
    assert sent == {"long": 20, "short": 1, "other": 1}


def test_a_source_that_is_no_more_is_named(bench: Bench):
    run = make_run("keywords/k.txt")
    sender = BacklogOutlet(bench.storage, bench.queues, {}, 60.0)(run, 0)
    with pytest.raises(Permanent, match=f"source {API} of run run1 is not deployed any more"):
        sender.send(API, [make_batch(["a"])])


def test_chunks_are_small_enough_for_turns_and_for_messages(tmp_path: Path):
    """A twentieth of the horizon each, and a hundred batches at most; no task is left out."""
    bench = Bench(tmp_path / "large", 25)
    bench.shard("a", 25 * SIZE + 250, each=1)
    assert bench.room.chunk > BATCHES_A_CHUNK
    assert [len(bench.storage.get(key).splitlines()) for key in bench.chunks()] == [BATCHES_A_CHUNK] * 2 + [
        50
    ]
    small = Bench(tmp_path / "small", 40)
    small.shard("a", 200)
    chunks = small.chunks()
    assert {len(small.storage.get(key).splitlines()) for key in chunks} == {2}
    assert sum(int(key.rpartition("-")[2].removesuffix(".jsonl")) for key in chunks) == 160 * SIZE


def test_release_waits_for_room(bench: Bench):
    """A full queue gets nothing; one that drains gets what fits, and the numbers say what was done."""
    bench.shard("a", 50)
    assert bench.release() == Released(0, 0, 30, 30 * SIZE)
    bench.drawn(5)
    assert bench.release() == Released(5, 5 * SIZE, 25, 25 * SIZE)
    assert bench.depth() == 20
    assert bench.release() == Released(0, 0, 25, 25 * SIZE)


def test_what_is_in_flight_takes_room_too(bench: Bench):
    bench.shard("a", 50)
    bench.queues.fetch(API).receive(20, wait=0)
    assert bench.release().chunks == 0


def test_the_oldest_run_begins_and_never_has_all_the_room(bench: Bench):
    """Looked at every minute there is room for one chunk at most: newer runs get theirs all the same."""
    bench.shard("new", 60, age=20)
    bench.drawn()
    bench.shard("mid", 60, age=10)
    bench.drawn()
    bench.shard("old", 60, age=0)
    order: list[str] = []
    for _ in range(60):
        order += [batch.run_id for batch in bench.drawn(1)]
        bench.release()
    assert order[20:26] == ["old", "mid", "new"] * 2
    shares = Counter(order[20:])
    assert max(shares.values()) - min(shares.values()) <= 1


def test_a_paused_run_keeps_its_chunks_and_others_go_on(bench: Bench):
    bench.shard("a", 40)
    bench.drawn()
    bench.shard("b", 40, age=1)
    bench.drawn()
    say(bench.storage, "a", "paused", 1.0)
    released = bench.release()
    assert {batch.run_id for batch in bench.drawn()} == {"b"}
    assert (released.chunks, released.chunks_left, released.tasks_left) == (20, 20, 20 * SIZE)
    say(bench.storage, "a", "", 2.0)
    bench.release()
    assert {batch.run_id for batch in bench.drawn()} == {"a"}


def test_a_cancelled_run_gives_all_at_once_and_takes_nobodys_room(bench: Bench):
    """Its batches ask for nothing: they end as refused as fast as they are drawn."""
    bench.shard("a", 60)
    bench.shard("b", 30, age=-5)
    say(bench.storage, "a", "cancelled", 1.0)
    assert bench.release() == Released(40, 40 * SIZE, 29, 29 * SIZE)
    assert Counter(batch.run_id for batch in bench.drawn()) == {"a": 60, "b": 1}


def test_a_death_between_sending_and_deleting_sends_again(tmp_path: Path):
    """At least once: fetch finds the staged object of what comes a second time."""
    bench = Bench(tmp_path)
    bench.shard("a", 22)
    bench.drawn()
    with pytest.raises(Killed):
        release(Dying(tmp_path), bench.queues, API, bench.room)
    assert numbers(bench.drawn()) == [21]
    assert bench.release().chunks_left == 0
    assert numbers(bench.drawn()) == [21, 22]
    assert bench.chunks() == []


def test_out_of_time_the_rest_waits(bench: Bench):
    bench.shard("a", 40)
    bench.drawn()
    looks = iter([False, False, True])
    assert bench.release(stopped=lambda: next(looks)) == Released(2, 2 * SIZE, 18, 18 * SIZE)


def test_a_part_that_is_repeated_replaces_nothing_by_something_else(bench: Bench):
    """Cut at another place, since the queue was shorter or longer then: no object is lost to another."""
    batches = bench.shard("a", 60)
    before = {key: bench.storage.get(key) for key in bench.chunks()}
    bench.drawn(7)
    bench.shard("a", 60)
    after = {key: bench.storage.get(key) for key in bench.chunks()}
    assert before.items() <= after.items()
    bench.drawn(100)
    bench.shard("a", 30)  # and dies there
    kept = {key: bench.storage.get(key) for key in bench.chunks()}
    assert after.items() <= kept.items()
    out = bench.drawn()
    while bench.chunks():
        bench.release()
        out += bench.drawn()
    assert {batch.batch_no for batch in out} >= set(numbers(batches[20:]))


def test_shard_and_conduct_together_lose_nothing(tmp_path: Path):
    """The step itself, over a file of which most waits."""
    bench = Bench(tmp_path, 2)
    content = "".join(f"k{number}\n" for number in range(500)).encode()
    run = make_run("keywords/k.txt", size=len(content), batch_size=7)
    bench.storage.put(run.key, content)
    bench.storage.put(keys.run(run.run_id), msgspec.json.encode(run))
    outlet = BacklogOutlet(bench.storage, bench.queues, {API: RATE}, bench.room.horizon)
    step = ShardStep(bench.storage, bench.queues, MemoryMetrics(), LOG, outlet)
    step(msgspec.json.encode(ShardTask(run.run_id, 0)))
    out = bench.drawn()
    assert 0 < sum(len(batch.tasks) for batch in out) <= 2 * SIZE + 70
    while bench.chunks():
        bench.release()
        out += bench.drawn()
    assert Counter(task.keyword for batch in out for task in batch.tasks) == {f"k{n}": 1 for n in range(500)}


@settings(max_examples=40, deadline=None)
@given(
    runs=st.lists(st.tuples(st.integers(0, 130), st.integers(1, 5)), min_size=1, max_size=4),
    batches=st.floats(0.01, 150),
    drains=st.lists(st.integers(0, 60), min_size=1, max_size=5),
)
def test_every_batch_comes_out_exactly_once(runs: list[tuple[int, int]], batches: float, drains: list[int]):
    """However many runs, however little room, however the queue drains in between."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), batches)
        out: list[Batch] = []
        sent: Counter[tuple[str, int]] = Counter()
        for at, (count, each) in enumerate(runs):
            sent.update((one.run_id, one.batch_no) for one in bench.shard(f"r{at}", count, age=at, each=each))
        for turn in range(10_000):
            drain = drains[turn % len(drains)] if turn < 20 else 1_000
            out += bench.drawn(drain) if drain else []
            left = bench.release()
            assert left.chunks_left == len(bench.chunks())
            if not bench.chunks():
                break
        out += bench.drawn()
        assert Counter((one.run_id, one.batch_no) for one in out) == sent
        assert all(len(one.tasks) == runs[int(one.run_id[1:])][1] for one in out)
