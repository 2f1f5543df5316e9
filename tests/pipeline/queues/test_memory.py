"""What only the memory broker has: a clock from outside, a visibility timeout, threads on one object."""

from __future__ import annotations

from pipeline.queues.memory import MemoryBroker
from pipeline.queues.protocol import Depth


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_delay_passes_by_the_given_clock():
    clock = Clock()
    queue = MemoryBroker(clock=clock).queue("q")
    queue.send([b"later"], delay=900.0)
    clock.now += 899.0
    assert queue.receive(1, wait=0.05) == []
    clock.now += 1.0
    assert [one.body for one in queue.receive(1, wait=0.0)] == [b"later"]


def test_an_unacknowledged_message_returns_after_its_visibility():
    clock = Clock()
    broker = MemoryBroker(max_receives=2, visibility=30.0, clock=clock)
    queue, other = broker.queue("q"), broker.queue("q")
    queue.send([b"slow"])
    (slow,) = queue.receive(1, wait=0.0)
    clock.now += 29.0
    assert other.receive(1, wait=0.0) == []
    clock.now += 1.0
    (again,) = other.receive(1, wait=0.0)
    assert (again.body, again.receives) == (b"slow", 2)

    queue.release(slow)  # stale: the other has it, and no second copy comes of this
    assert queue.depth() == Depth(0, 1)
    clock.now += 30.0
    assert queue.receive(1, wait=0.0) == []
    (dead,) = queue.dead().receive(1, wait=0.0)
    assert dead.body == b"slow"


def test_bodies_are_copies():
    queue = MemoryBroker().queue("q")
    body = bytearray(b"before")
    queue.send([body])
    body[:] = b"after!"
    assert queue.receive(1, wait=0.0)[0].body == b"before"


def test_close_gives_back_only_ones_own():
    broker = MemoryBroker()
    mine, other = broker.queue("q"), broker.queue("q")
    mine.send([b"1", b"2"])
    mine.receive(1, wait=0.0)
    (held,) = other.receive(1, wait=0.0)
    mine.close()
    assert mine.depth() == Depth(1, 1)
    other.ack(held)
    assert mine.depth() == Depth(1, 0)
