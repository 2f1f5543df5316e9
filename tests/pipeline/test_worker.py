"""Settling: each message by what became of it, and none by its neighbour's fate."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from pipeline.errors import Permanent, QueueUnavailable, Retryable, StorageUnavailable
from pipeline.queues.memory import MemoryBroker, MemoryQueue
from pipeline.queues.names import Queues
from pipeline.worker import Drawing, one_by_one, settle, work
from tests.pipeline.kit import LOG, Clock


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryBroker(max_receives=3, clock=Clock()).queue("t-fetch-x")


def run_once(queue: MemoryQueue, step) -> None:
    settle(queue, queue.receive(10, wait=0), one_by_one(step), LOG)


def test_success_is_acknowledged(queue: MemoryQueue):
    """A message whose step returned is never delivered again."""
    queue.send([b"a"])
    run_once(queue, lambda _body: None)
    assert (queue.depth().waiting, queue.depth().in_flight) == (0, 0)


def test_a_permanent_failure_goes_to_the_dead_letter_queue_at_once(queue: MemoryQueue):
    """What no repetition can help is set aside with its reason, its body unchanged."""

    def step(_body: bytes) -> None:
        raise Permanent("this is no batch")

    queue.send([b"rubbish"])
    run_once(queue, step)
    [letter] = queue.dead().receive(1, wait=0)
    assert letter.body == b"rubbish"
    assert letter.receipt.reason == "this is no batch"


@pytest.mark.parametrize("error", [Retryable("away"), RuntimeError("a defect")])
def test_other_failures_are_tried_again_and_end_in_the_dead_letter_queue(error: Exception):
    """Nothing is dropped, a defect neither; nothing is tried for ever."""
    clock = Clock()
    queue = MemoryBroker(max_receives=3, clock=clock).queue("q")
    seen: list[bytes] = []

    def step(body: bytes) -> None:
        seen.append(body)
        raise error

    queue.send([b"a"])
    for _ in range(6):
        run_once(queue, step)
        clock.now += 100
    assert seen == [b"a"] * 3
    assert [letter.body for letter in queue.dead().receive(5, wait=0)] == [b"a"]


def test_a_failed_message_waits_before_it_is_tried_again():
    """A server that is away is not asked in a loop."""
    clock = Clock()
    queue = MemoryBroker(clock=clock).queue("q")

    def step(_body: bytes) -> None:
        raise Retryable("busy", after=7)

    queue.send([b"a"])
    run_once(queue, step)
    clock.now += 6.9
    assert queue.receive(1, wait=0) == []
    clock.now += 0.2
    assert len(queue.receive(1, wait=0)) == 1


def test_one_bad_message_never_fails_its_neighbours(queue: MemoryQueue):
    """The good ones of a batch are done, the bad one alone is dealt with."""
    done: list[bytes] = []

    def step(body: bytes) -> None:
        if body == b"bad":
            raise Permanent("bad")
        done.append(body)

    queue.send([b"1", b"bad", b"2"])
    run_once(queue, step)
    assert done == [b"1", b"2"]
    assert [letter.body for letter in queue.dead().receive(5, wait=0)] == [b"bad"]
    assert queue.depth().in_flight == 0


def test_a_handler_that_raises_gives_every_message_back(queue: MemoryQueue):
    """When the catalog is away none of the messages is done, and none is lost."""

    def handle(_bodies: Sequence[bytes]) -> dict[int, Exception]:
        raise Retryable("the catalog is away")

    queue.send([b"1", b"2"])
    settle(queue, queue.receive(10, wait=0), handle, LOG)
    assert queue.depth().waiting == 2


def test_a_worker_collects_for_its_window_and_stops_when_told():
    """Few large calls instead of many small ones; a hurry ends the wait, a stop the worker."""
    queue = MemoryBroker().queue("q")
    calls: list[int] = []
    stop = threading.Event()

    def handle(bodies: Sequence[bytes]) -> dict[int, Exception]:
        calls.append(len(bodies))
        return {}

    thread = threading.Thread(
        target=work,
        args=(queue, handle),
        kwargs={"stopped": stop.is_set, "log": LOG, "drawing": Drawing(100, 0.6)},
    )
    thread.start()
    for _ in range(4):
        queue.send([b"x"])
        time.sleep(0.05)
    time.sleep(1.2)
    assert calls == [4]
    stop.set()
    thread.join(3)
    assert not thread.is_alive()


def test_a_broker_that_is_away_does_not_end_a_worker():
    """The worker asks again when the broker is back."""
    queue = MemoryBroker().queue("q")
    queue.send([b"x"])
    done: list[bytes] = []
    away = iter([True, False])

    class Flaky:
        name = "q"

        def receive(self, most: int, *, wait: float):
            if next(away, False):
                raise QueueUnavailable("connection refused")
            return queue.receive(most, wait=wait)

        def __getattr__(self, name: str):
            return getattr(queue, name)

    work(Flaky(), one_by_one(done.append), stopped=lambda: bool(done), log=LOG, drawing=Drawing(away=0.01))
    assert done == [b"x"]


def failing(times: int, done: list[bytes]):
    """A step that finds the storage away so many times."""
    left = iter(range(times))

    def step(body: bytes) -> None:
        if next(left, None) is not None:
            raise StorageUnavailable("the disk is full: make room and run again")
        done.append(body)

    return step


def test_an_outage_spends_no_deliveries():
    """With patience the messages stay in hand until what they need answers again."""
    queue = MemoryBroker(max_receives=2).queue("q")
    queue.send([b"a", b"b"])
    done: list[bytes] = []
    drawing = Drawing(most=2, away=0.01, patience=30)
    work(queue, one_by_one(failing(5, done)), stopped=lambda: len(done) == 2, log=LOG, drawing=drawing)
    assert sorted(done) == [b"a", b"b"]
    assert queue.dead().depth().waiting == 0


def test_without_patience_an_outage_is_raised_and_the_message_is_kept():
    """One command stops with the reason instead of burying what it could not store."""
    queue = MemoryBroker().queue("q")
    queue.send([b"a"])
    with pytest.raises(StorageUnavailable, match="make room"):
        work(queue, one_by_one(failing(1, [])), stopped=lambda: False, log=LOG)
    assert queue.depth().waiting == 1


def test_queues_of_one_thread_close_alone():
    """A thread that ends gives back its own messages, not those that others have in hand."""
    shared = MemoryBroker()
    mine, other = Queues(shared, "t", shared=True), Queues(shared, "t", shared=True)
    mine.results.send([b"a", b"b"])
    [kept] = other.results.receive(1, wait=0)
    mine.results.receive(1, wait=0)
    mine.close()
    assert (other.results.depth().waiting, other.results.depth().in_flight) == (1, 1)
    other.results.ack(kept)
