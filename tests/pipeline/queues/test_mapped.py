"""A queue as Lambda hands it over: settled by ``worker.settle``, told by what is reported."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from pipeline.errors import Misuse, Permanent, QueueUnavailable, Retryable, StorageUnavailable
from pipeline.queues.mapped import MappedQueue, deliveries, queue_of
from pipeline.queues.protocol import Depth, Received
from pipeline.queues.sqs import SqsBroker, SqsQueue
from pipeline.worker import settle
from tests.pipeline.queues.conftest import MAX_RECEIVES, sqs_client

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class Log:
    """Remembers what was logged as an error."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def error(self, _event: str, **fields: Any) -> None:
        self.errors.append(str(fields["error"]))


class EventSource:
    """What Lambda's event source mapping does, by SQS's own calls."""

    def __init__(self, client: SQSClient) -> None:
        self.queue = SqsBroker(client, create=True, max_receives=MAX_RECEIVES).queue("t-results")
        self._client = client
        self._handles: dict[str, str] = {}

    def event(self, *bodies: str) -> dict[str, Any]:
        """The next event, after these bodies were sent."""
        self.queue.send([body.encode() for body in bodies])
        return self.next_event()

    def next_event(self) -> dict[str, Any]:
        answer = self._client.receive_message(
            QueueUrl=self.queue.wire.url, MaxNumberOfMessages=10, AttributeNames=["All"]
        )
        records = [
            {
                "messageId": one["MessageId"],
                "receiptHandle": one["ReceiptHandle"],
                "body": one["Body"],
                "attributes": one["Attributes"] | {"SenderId": "x"},
                "messageAttributes": {},
                "md5OfBody": one["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:t-results",
                "awsRegion": "eu-central-1",
            }
            for one in answer.get("Messages", [])
        ]
        self._handles = {one["messageId"]: one["receiptHandle"] for one in records}
        return {"Records": records}

    def end(self, failed: Sequence[str]) -> None:
        """Delete what is not reported."""
        assert set(failed) <= set(self._handles)
        for message, handle in self._handles.items():
            if message not in failed:
                self._client.delete_message(QueueUrl=self.queue.wire.url, ReceiptHandle=handle)


@pytest.fixture
def mapping(aws: None) -> Iterator[EventSource]:  # noqa: ARG001
    client = sqs_client()
    yield EventSource(client)
    client.close()


def failing(by_body: Mapping[bytes, Exception]) -> Any:
    return lambda bodies: {at: by_body[body] for at, body in enumerate(bodies) if body in by_body}


def test_one_bad_record_never_fails_its_neighbours(mapping: EventSource):
    """The unreadable goes to its grave with the reason, what may work later comes again, the rest is done."""
    received = deliveries(mapping.event('"ok"', '"bad"', '"later"', '"ok too"'))
    queue, log = MappedQueue(mapping.queue, received, pause=0.0), Log()
    errors = {b'"bad"': Permanent("cannot read this"), b'"later"': Retryable("a lost race", after=0.0)}
    settle(queue, received, failing(errors), log)
    (later,) = [one for one in received if one.body == b'"later"']
    assert queue.failed == [later.receipt.message_id]
    assert sorted(log.errors) == ["a lost race", "cannot read this"]
    mapping.end(queue.failed)
    (dead,) = mapping.queue.dead().receive(10, wait=1.0)
    assert (dead.body, dead.receipt.reason) == (b'"bad"', "cannot read this")
    again = deliveries(mapping.next_event())
    assert [(one.body, one.receives) for one in again] == [(b'"later"', 2)]
    assert mapping.queue.depth() == Depth(0, 1)


def test_an_outage_reports_all(mapping: EventSource):
    received = deliveries(mapping.event("1", "2", "3"))
    queue = MappedQueue(mapping.queue, received, pause=0.0)

    def away(_bodies: Sequence[bytes]) -> dict[int, Exception]:
        raise StorageUnavailable("no storage")

    with pytest.raises(StorageUnavailable):
        settle(queue, received, away, Log())
    assert sorted(queue.failed) == sorted(one.receipt.message_id for one in received)
    mapping.end(queue.failed)
    assert mapping.queue.depth() == Depth(0, 3)  # hidden until their rest is over
    again: list[Received] = []
    until = time.monotonic() + 10
    while len(again) < 3 and time.monotonic() < until:
        again += mapping.queue.receive(10, wait=1.0)
    assert sorted((one.body, one.receives) for one in again) == [(b"1", 2), (b"2", 2), (b"3", 2)]


def test_what_nobody_settled_is_reported(mapping: EventSource):
    """The mapping would delete it."""
    received = deliveries(mapping.event("1", "2"))
    queue = MappedQueue(mapping.queue, received, pause=0.0)
    assert len(queue.failed) == 2
    queue.ack(received[0])
    assert queue.failed == [received[1].receipt.message_id]


def test_a_burial_stands_even_if_the_invocation_fails(mapping: EventSource):
    """Lambda then delivers the whole batch again; a second grave for the same message would be noise."""
    received = deliveries(mapping.event("1", "2"))
    MappedQueue(mapping.queue, received, pause=0.0).bury(received[0], reason="bad")
    assert mapping.queue.depth() == Depth(0, 1)


def test_spent_receives_end_here_too(mapping: EventSource):
    event = mapping.event("1")
    for _ in range(MAX_RECEIVES):
        received = deliveries(event)
        queue = MappedQueue(mapping.queue, received, pause=0.0)
        queue.release(received[0])
        mapping.end(queue.failed)
        event = mapping.next_event()
    assert queue.failed == []
    assert event == {"Records": []}
    (dead,) = mapping.queue.dead().receive(1, wait=1.0)
    assert f"delivered {MAX_RECEIVES} times" in dead.receipt.reason


def test_a_release_can_wait(mapping: EventSource):
    received = deliveries(mapping.event("1"))
    MappedQueue(mapping.queue, received, pause=0.0).release(received[0], delay=30.0)
    assert mapping.queue.depth() == Depth(0, 1)


def test_a_grave_that_is_missing_fails_no_neighbour(mapping: EventSource, aws: None):  # noqa: ARG001
    """The dead-letter queue is gone: the bad message stays, the good one is done, and it is told."""
    received = deliveries(mapping.event('"bad"', '"ok"'))
    client = sqs_client()
    client.delete_queue(QueueUrl=mapping.queue.dead().wire.url)
    queue = MappedQueue(mapping.queue, received, pause=0.0)
    settle(queue, received, failing({b'"bad"': Permanent("no")}), Log())
    (bad,) = [one for one in received if one.body == b'"bad"']
    assert queue.failed == [bad.receipt.message_id]
    assert "t-results-dead does not exist" in queue.problems[0]
    client.close()


def test_a_release_that_sqs_refuses_fails_no_neighbour(mapping: EventSource, monkeypatch: pytest.MonkeyPatch):
    """The message comes again by itself, when its visibility ends."""
    received = deliveries(mapping.event('"later"', '"ok"'))

    def refuse(*_: object) -> bool:
        raise QueueUnavailable("throttled")

    monkeypatch.setattr(mapping.queue, "give_back", refuse)
    queue = MappedQueue(mapping.queue, received, pause=0.0)
    settle(queue, received, failing({b'"later"': Retryable("no")}), Log())
    (later,) = [one for one in received if one.body == b'"later"']
    assert queue.failed == [later.receipt.message_id]
    assert queue.problems == ["throttled"]


def test_an_events_facts(mapping: EventSource):
    event = mapping.event('"größe"')
    (received,) = deliveries(event)
    assert received.body == '"größe"'.encode()
    assert received.receives == 1
    assert received.sent_at > 1_700_000_000
    assert queue_of(event) == "t-results"
    assert MappedQueue(mapping.queue, [received], pause=0.0).receive(10, wait=0.0) == []


@pytest.mark.parametrize(
    "event",
    [{}, None, [], {"Records": 5}, {"Records": [{"eventSource": "aws:s3", "s3": {}}]}, {"action": "compact"}],
)
def test_an_event_of_something_else_is_misuse(event: Any):
    with pytest.raises(Misuse, match=r"send a message to the queue"):
        deliveries(event)


def test_what_fails_again_and_again_rests_longer_and_longer(mapping: EventSource):
    """An outage of half an hour spends no message's deliveries: each comes back later than before."""
    mapping.queue.send([b'"a"'])
    pauses = []
    [one] = mapping.queue.receive(1, wait=1.0)
    for receives in (1, 2, 3, 4):
        told: list[float] = []

        class Told:
            """The queue, as far as a release goes."""

            name = "results"

            def give_back(self, _received: Received, delay: float, told: list[float] = told) -> bool:
                told.append(delay)
                return True

        again = msgspec.structs.replace(one, receives=receives)
        MappedQueue(cast("SqsQueue", Told())).release(again)
        pauses.extend(told)
    assert pauses == [60.0, 120.0, 240.0, 480.0]
