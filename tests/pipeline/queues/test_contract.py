"""What ``pipeline.queues.protocol`` promises, on every broker, from outside.

A rule that fails here is broken for a worker; how a broker keeps it is not looked at.
"""

from __future__ import annotations

import os
import threading
import time

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import QueueUnavailable
from pipeline.queues.protocol import MAX_DELAY, Depth, Queue, Received
from tests.pipeline.queues.conftest import BRIEF, MAX_RECEIVES, Place, kill

SOON = 10.0
"""A wait that ends with the message; only a failing test lasts so long."""
SLACK = 0.4
"""How late a busy machine may be."""


def take(queue: Queue, count: int, wait: float = SOON) -> list[Received]:
    """So many messages, in one receive or several."""
    taken: list[Received] = []
    deadline = time.monotonic() + wait
    while len(taken) < count and time.monotonic() < deadline:
        taken += queue.receive(count - len(taken), wait=max(0.0, deadline - time.monotonic()))
    return taken


def bodies(received: list[Received]) -> list[bytes]:
    return sorted(one.body for one in received)


# One queue serves all the examples: each leaves it empty.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(st.one_of(st.binary(max_size=300), st.text().map(str.encode)), min_size=1, max_size=12))
def test_bytes_come_back_unchanged(place: Place, sent: list[bytes]):
    if not place.any_bytes:
        sent = [msgspec.json.encode(body.decode("latin-1")) for body in sent]
    queue = place.same_consumer()
    queue.send(sent)
    received = take(queue, len(sent))
    assert bodies(received) == sorted(sent)
    assert {one.receives for one in received} == {1}
    for one in received:
        queue.ack(one)
    assert queue.depth() == Depth(0, 0)


def test_a_mebibyte_comes_back_unchanged(place: Place):
    queue = place.consumer()
    noise = os.urandom(1 << 20) if place.any_bytes else os.urandom(1 << 19).hex().encode()
    for body in (noise, ("ключ " * 120_000)[: 1 << 19].encode()):
        queue.send([body])
        (received,) = take(queue, 1)
        assert received.body == body
        queue.ack(received)


def test_one_receive_gives_up_to_a_thousand(place: Place):
    queue = place.consumer()
    most, rest = place.crowd, place.crowd // 5
    queue.send([b"%d" % number for number in range(most + rest)])
    first = queue.receive(most, wait=SOON)
    second = queue.receive(most, wait=SOON)
    assert (len(first), len(second)) == (most, rest)
    assert len(set(bodies(first + second))) == most + rest
    for one in first + second:
        queue.ack(one)


def test_an_acknowledged_message_is_forgotten(place: Place):
    """Not delivered again, not even after its consumer has gone."""
    broker = place.broker()
    queue = broker.queue(place.name)
    queue.send([b"done"])
    queue.ack(take(queue, 1)[0])
    broker.close()
    assert place.consumer().receive(1, wait=0.2) == []


def test_a_released_message_comes_again_and_is_counted(place: Place):
    queue = place.consumer()
    queue.send([b"again"])
    (first,) = take(queue, 1)
    queue.release(first)
    (second,) = take(queue, 1)
    assert (first.receives, second.receives, second.body) == (1, 2, b"again")


def test_spent_receives_end_in_the_dead_letter_queue(place: Place):
    queue = place.consumer()
    hopeless = b"\x00hopeless\xff" if place.any_bytes else b'"hopeless"'
    queue.send([hopeless])
    for receives in range(1, MAX_RECEIVES + 1):
        (received,) = take(queue, 1)
        assert received.receives == receives
        queue.release(received)
    assert queue.receive(1, wait=0.2) == []
    (dead,) = take(queue.dead(), 1)
    assert dead.body == hopeless
    assert str(MAX_RECEIVES) in dead.receipt.reason


def test_bury_moves_at_once_and_keeps_the_reason(place: Place):
    queue = place.consumer()
    queue.send([b"bad", b"good"])
    for one in take(queue, 2):
        if one.body == b"bad":
            queue.bury(one, reason="unreadable: größer als erlaubt")
        else:
            queue.ack(one)
    assert queue.depth() == Depth(0, 0)
    (dead,) = take(place.consumer().dead(), 1)
    assert (dead.body, dead.receipt.reason) == (b"bad", "unreadable: größer als erlaubt")


def test_the_dead_stay_until_acknowledged(place: Place):
    """An operator may look as often as they like, and the reason is still there."""
    queue = place.consumer()
    queue.send([b"bad"])
    queue.bury(take(queue, 1)[0], reason="why")
    dead = queue.dead()
    assert dead.dead().name == dead.name
    for look in range(MAX_RECEIVES + 2):
        (received,) = take(dead, 1)
        assert received.receipt.reason == "why"
        dead.bury(received, reason="again") if look == 1 else dead.release(received)
    dead.ack(take(dead, 1)[0])
    assert dead.depth().waiting == 0


def test_a_delay_is_honoured_and_blocks_nothing_behind_it(place: Place):
    queue = place.consumer()
    delay = 0.6 + 2 * place.grain
    started = time.monotonic()
    queue.send([b"late"], delay=delay)
    queue.send([b"now"])
    (now,) = take(queue, 1)
    assert (now.body, time.monotonic() - started < delay) == (b"now", True)
    assert queue.receive(1, wait=0.1) == []
    (late,) = take(queue, 1)
    assert (late.body, late.receives) == (b"late", 1)
    assert delay <= time.monotonic() - started < 2 * delay + SLACK


def test_a_release_can_wait(place: Place):
    queue = place.consumer()
    queue.send([b"again"])
    (first,) = take(queue, 1)
    released = time.monotonic()
    queue.release(first, delay=0.4)
    (second,) = take(queue, 1)
    assert second.receives == 2
    assert 0.4 <= time.monotonic() - released < 2 * max(0.4, place.grain) + SLACK


def test_every_delay_is_its_own(place: Place):
    """None comes early, and none waits beyond twice its delay for one that was sent before it."""
    queue = place.consumer()
    delays = [0.9, 0.45, 0.3, 0.7, 0.05]
    started = time.monotonic()
    for delay in delays:
        queue.send([str(delay).encode()], delay=delay)
    for _ in delays:
        (received,) = take(queue, 1)
        passed = time.monotonic() - started
        assert float(received.body) <= passed < 2 * max(float(received.body), place.grain) + SLACK
        queue.ack(received)


def test_many_delayed_messages_starve_nobody(place: Place):
    """Nor do they keep a processor busy, go to another consumer early, or vanish with one."""
    broker = place.broker()
    queue = broker.queue(place.name)
    many = place.crowd * 3 // 2
    queue.send([b"%d" % number for number in range(many)], delay=60.0)
    assert queue.depth() == Depth(many, 0)
    queue.send([b"now"])
    assert bodies(queue.receive(10, wait=SOON)) == [b"now"]
    broker.close()
    other = place.consumer()
    assert bodies(other.receive(10, wait=SOON)) == [b"now"]
    spent = time.process_time()
    assert other.receive(1, wait=0.5) == []
    assert time.process_time() - spent < 0.15
    assert other.depth().waiting == many


def test_a_delay_no_broker_can_honour_is_refused(place: Place):
    queue = place.consumer()
    with pytest.raises(ValueError, match="backlog"):
        queue.send([b"x"], delay=MAX_DELAY + 1)
    queue.send([b"y"], delay=-3.0)
    (received,) = take(queue, 1)
    assert received.body == b"y"
    with pytest.raises(ValueError, match="backlog"):
        queue.release(received, delay=float("nan"))
    queue.ack(received)


def test_an_empty_queue_is_waited_for_without_work(place: Place):
    queue = place.consumer()
    queue.receive(1, wait=0.0)  # connected
    started, spent = time.monotonic(), time.process_time()
    assert queue.receive(5, wait=0.7) == []
    assert 0.7 <= time.monotonic() - started < max(0.7, place.grain) + SLACK
    assert time.process_time() - spent < 0.15


def test_a_message_ends_the_wait(place: Place):
    queue = place.consumer()
    queue.receive(1, wait=0.0)
    sent: list[float] = []

    def send_later() -> None:
        sender = place.consumer()
        sender.depth()  # connected
        time.sleep(0.4)
        sent.append(time.monotonic())
        sender.send([b"wake"])

    thread = threading.Thread(target=send_later)
    thread.start()
    (received,) = queue.receive(10, wait=SOON)
    woken = time.monotonic()
    thread.join()
    assert received.body == b"wake"
    assert woken - sent[0] < SOON / 5  # about 5 ms on an idle machine


def test_every_waiting_consumer_is_woken(place: Place):
    """One message each: none sleeps on while there is work for it."""
    got: list[float] = []
    ready = threading.Barrier(4)

    def consume() -> None:
        queue = place.consumer()
        queue.receive(1, wait=0.0)
        ready.wait(SOON)
        for one in queue.receive(1, wait=SOON):
            got.append(time.monotonic())
            queue.ack(one)

    threads = [threading.Thread(target=consume) for _ in range(3)]
    for thread in threads:
        thread.start()
    sender = place.consumer()
    sender.depth()
    ready.wait(SOON)
    time.sleep(0.2)
    sent = time.monotonic()
    sender.send([b"1", b"2", b"3"])
    for thread in threads:
        thread.join()
    assert len(got) == 3
    assert max(got) - sent < SLACK


def test_consumers_share_without_duplicates(place: Place):
    numbers = [b"%d" % number for number in range(place.crowd * 2 // 5)]
    place.consumer().send(numbers)
    shares: list[list[bytes]] = [[], []]
    start = threading.Barrier(2)

    def consume(share: list[bytes]) -> None:
        queue = place.consumer()
        start.wait(SOON)
        while batch := queue.receive(7, wait=0.3):
            share += [one.body for one in batch]
            for one in batch:
                queue.ack(one)
            time.sleep(0.001)  # work, so that the other thread has its turn

    threads = [threading.Thread(target=consume, args=[share]) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(shares[0] + shares[1]) == sorted(numbers)
    assert all(shares)


def test_what_one_holds_another_does_not_get(place: Place):
    """Nor more than it asked for: nothing is fetched ahead and kept from the others."""
    mine, other = place.consumer(), place.consumer()
    mine.send([b"1", b"2", b"3"])
    held = take(mine, 1)
    rest = take(other, 2)
    assert bodies(held + rest) == [b"1", b"2", b"3"]
    assert mine.receive(1, wait=0.1) == other.receive(1, wait=0.1) == []


def test_a_stale_receipt_is_no_error_and_does_nothing(place: Place):
    queue = place.consumer()
    queue.send([b"once"])
    (received,) = take(queue, 1)
    queue.ack(received)
    queue.ack(received)
    queue.release(received)
    queue.bury(received, reason="too late")
    assert queue.receive(1, wait=0.1) == []
    assert queue.dead().receive(1, wait=0.1) == []


def test_depth_knows_what_waits_and_what_is_held(place: Place):
    queue = place.consumer()
    assert queue.depth() == Depth(0, 0)
    queue.send([b"1", b"2", b"3"])
    queue.send([b"4"], delay=60.0)
    assert queue.depth() == Depth(4, 0)
    (held,) = take(queue, 1)
    assert queue.depth() == Depth(3, 1)
    queue.ack(held)
    assert queue.depth() == Depth(3, 0)


def test_close_returns_what_is_held_and_counts_it(place: Place):
    queue = place.consumer()
    queue.send([b"1", b"2"])
    take(queue, 2)
    queue.close()
    again = take(place.consumer(), 2)
    assert bodies(again) == [b"1", b"2"]
    assert {one.receives for one in again} == {2}


def test_a_killed_consumer_loses_nothing_and_is_counted(server_place: Place):
    """A message that kills its process each time ends in the dead-letter queue, not in a circle."""
    queue = server_place.consumer(visibility=BRIEF)
    queue.send([b"deadly"])
    for _ in range(MAX_RECEIVES - 1):
        kill(server_place.other_process("hold"))
    (received,) = take(queue, 1)
    assert (received.body, received.receives) == (b"deadly", MAX_RECEIVES)
    queue.close()
    assert queue.receive(1, wait=0.2) == []
    (dead,) = take(queue.dead(), 1)
    assert dead.body == b"deadly"
    assert "went away" in dead.receipt.reason


def test_a_consumer_killed_between_two_receives_takes_nothing_along(server_place: Place):
    """A wait that is over has no open end at the broker into which the next message could fall."""
    idle = server_place.other_process("look")
    queue = server_place.consumer()
    queue.send([b"mine"])
    time.sleep(0.1)
    kill(idle)
    (received,) = queue.receive(1, wait=0.5)
    assert (received.body, received.receives) == (b"mine", 1)


def test_a_broker_that_went_away_is_reported_and_found_again(server_place: Place):
    """In the middle of a wait, too. What was stored is there after it; what was held comes again."""
    queue = server_place.consumer(visibility=BRIEF)
    queue.send([b"held", b"waiting"])
    (held,) = take(queue, 1)
    queue.ack(take(queue, 1)[0])
    queue.send([b"late"], delay=1.5)
    server = server_place.server
    assert server is not None
    timer = threading.Timer(0.2, server.stop)
    timer.start()
    try:
        with pytest.raises(QueueUnavailable):
            queue.receive(1, wait=30.0) or queue.receive(1, wait=30.0)
        for act in (
            lambda: queue.send([b"x"]),
            lambda: queue.ack(held),
            lambda: queue.release(held),
            queue.depth,
        ):
            with pytest.raises(QueueUnavailable, match=r"127\.0\.0\.1"):
                act()
    finally:
        timer.join()
        server.start()
    queue.send([b"new"])
    seen = []
    for _ in range(3):
        (received,) = take(queue, 1)
        seen.append(received.body)
        queue.ack(received)
    assert sorted(seen) == [b"held", b"late", b"new"]
    assert queue.receive(1, wait=0.1) == []
