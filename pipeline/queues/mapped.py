"""A queue as Lambda's event source mapping hands it over: received by Lambda, settled by what is reported.

The mapping deletes every message that is not reported as failed. So whatever was handed over and did not
end well is reported, also what nobody came to settle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline.errors import Misuse, PipelineError
from pipeline.queues.protocol import MAX_DELAY, Depth, Received, checked_delay
from pipeline.queues.sqs import SqsQueue
from pipeline.queues.sqs_wire import SqsReceipt


class _Attributes(msgspec.Struct, frozen=True, rename="pascal"):
    approximate_receive_count: int
    sent_timestamp: int


class _Record(msgspec.Struct, frozen=True, rename="camel"):
    body: str
    receipt_handle: str
    message_id: str
    attributes: _Attributes
    source: str = msgspec.field(name="eventSourceARN")


class _Event(msgspec.Struct, frozen=True):
    records: list[_Record] = msgspec.field(name="Records")


def deliveries(event: Any) -> list[Received]:
    """The messages in an event of Lambda's; ``Misuse`` for one that no queue's mapping made."""
    return [
        Received(
            record.body.encode(errors="replace"),
            record.attributes.approximate_receive_count,
            SqsReceipt(record.receipt_handle, record.message_id),
            record.attributes.sent_timestamp / 1000,
        )
        for record in _read(event).records
    ]


def queue_of(event: Any) -> str:
    """The name of the queue that an event's messages came from."""
    names = {record.source.rpartition(":")[2] for record in _read(event).records}
    if len(names) != 1:
        raise Misuse(f"the event has messages of {len(names)} queues: a mapping hands over those of one")
    return names.pop()


FIRST_PAUSE = 30.0
"""Half the seconds after which a message that failed once is delivered again; they double each time."""


class MappedQueue:
    """The queue that ``received`` were handed over from; settle them with ``worker.settle``, then report.

    Settling raises nothing because SQS does not do what was asked: the message is reported and comes again
    when its visibility ends, its neighbours are settled, and ``problems`` says what was refused.
    """

    def __init__(
        self, queue: SqsQueue, received: Sequence[Received] = (), *, pause: float = FIRST_PAUSE
    ) -> None:
        self.name = queue.name
        self.problems: list[str] = []
        self._queue = queue
        self._pause = pause
        self._open = {one.receipt.message_id: None for one in received}

    @property
    def failed(self) -> list[str]:
        """The message ids for ``batchItemFailures``: what was released, or never settled."""
        return list(self._open)

    def send(self, bodies: Sequence[bytes], *, delay: float = 0.0, group: str = "") -> None:
        """Store the bodies, as on any queue."""
        self._queue.send(bodies, delay=delay, group=group)

    def receive(self, most: int, *, wait: float) -> list[Received]:  # noqa: ARG002
        """Nothing: the mapping receives."""
        return []

    def ack(self, received: Received) -> None:
        """Do not report it; the mapping deletes it."""
        self._open.pop(received.receipt.message_id, None)

    def release(self, received: Received, *, delay: float = 0.0) -> None:
        """Report it, to be delivered again after ``delay``, or bury it when its receives are spent.

        Later from time to time: an outage of half an hour should not spend the deliveries of all.
        """
        delay = max(checked_delay(delay), min(MAX_DELAY, self._pause * 2.0**received.receives))
        self._open[received.receipt.message_id] = None
        try:
            if not self._queue.give_back(received, delay):
                self.ack(received)
        except PipelineError as error:
            self.problems.append(str(error))

    def bury(self, received: Received, *, reason: str) -> None:
        """Move it to the dead-letter queue; deleted here at once, a crash later buries no second one."""
        self._open[received.receipt.message_id] = None
        try:
            self._queue.move(received, reason)
            self.ack(received)
        except PipelineError as error:
            self.problems.append(str(error))

    def dead(self) -> SqsQueue:
        """The dead-letter queue."""
        return self._queue.dead()

    def depth(self) -> Depth:
        """As the queue says."""
        return self._queue.depth()

    def close(self) -> None:
        """Nothing to give back: what was not settled is reported."""


def _read(event: Any) -> _Event:
    try:
        return msgspec.convert(event, _Event, strict=False)
    except msgspec.ValidationError as error:
        raise Misuse(
            f"the event is not one of an SQS queue ({error}): this function is started by its queue's event "
            "source mapping, so send a message to the queue instead"
        ) from error
