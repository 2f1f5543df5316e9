"""Messages back from the dead-letter queue, at a pace, on a broker in memory and on SQS."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import boto3
import pytest
from moto import mock_aws

from pipeline import redrive as module
from pipeline.errors import Misuse, QueueUnavailable
from pipeline.queues.memory import MemoryBroker
from pipeline.queues.protocol import Broker, Depth, Queue
from pipeline.queues.sqs import SqsBroker
from pipeline.redrive import redrive


@pytest.fixture(params=["memory", "sqs"])
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    monkeypatch.setattr(module, "LOOK", 0.0)  # nobody else sends: what is there is there
    if request.param == "memory":
        yield MemoryBroker(max_receives=2)
        return
    with mock_aws():
        client = boto3.client("sqs", region_name="eu-central-1")
        yield SqsBroker(client, create=True, max_receives=2)
        client.close()


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.seen: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds < 1
        self.now += seconds
        self.seen()


def with_dead(broker: Broker, count: int) -> Queue:
    queue = broker.queue("q")
    queue.send([b"%d" % number for number in range(count)])
    for one in queue.receive(count, wait=0.0):
        queue.bury(one, reason="broken")
    assert queue.dead().depth() == Depth(count, 0)
    return queue


def test_everything_comes_back_and_counts_from_one(broker: Broker):
    queue = with_dead(broker, 23)
    assert redrive(queue) == 23
    assert queue.dead().depth() == Depth(0, 0)
    received = queue.receive(100, wait=0.0)
    assert sorted(int(one.body) for one in received) == list(range(23))
    assert {(one.receives, one.receipt.reason) for one in received} == {(1, "")}
    assert redrive(queue) == 0


def test_what_fails_again_stays_dead(broker: Broker):
    """It does not go round for ever, and neither does the command."""
    queue = with_dead(broker, 12)
    passed = 0

    def worker() -> bool:
        nonlocal passed
        passed += 1
        assert passed < 50
        for one in queue.receive(10, wait=0.0):
            queue.bury(one, reason="still broken")
        return False

    assert redrive(queue, stopped=worker) == 12
    assert queue.depth().waiting + queue.dead().depth().waiting == 12
    assert queue.dead().depth().in_flight == 0


def test_the_pace_is_kept(broker: Broker):
    queue = with_dead(broker, 10)
    time = Time()
    started = time.now
    came: list[tuple[float, int]] = []
    time.seen = lambda: came.append((time.now - started, queue.depth().waiting))
    assert redrive(queue, rate=2.0, clock=time, sleep=time.sleep) == 10
    assert all(count <= 2.0 * passed + 2 for passed, count in came)
    assert time.now - started == pytest.approx(5.0)


def test_it_stops_when_told(broker: Broker):
    queue = with_dead(broker, 30)
    looks = iter([False, False, True])
    assert redrive(queue, stopped=lambda: next(looks)) == 20
    assert (queue.depth().waiting, queue.dead().depth()) == (20, Depth(10, 0))


def test_a_queue_that_does_not_take_them_loses_none(broker: Broker, monkeypatch: pytest.MonkeyPatch):
    queue = with_dead(broker, 3)

    def refuse(*_: object, **__: object) -> None:
        raise QueueUnavailable("away")

    monkeypatch.setattr(queue, "send", refuse)
    with pytest.raises(QueueUnavailable):
        redrive(queue)
    assert queue.dead().depth() == Depth(3, 0)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_of_nothing_is_misuse(rate: float):
    with pytest.raises(Misuse, match="above 0"):
        redrive(MemoryBroker().queue("q"), rate=rate)
