"""AWS's SQS as a broker, through boto3: raw JSON bodies, ten messages a call.

SQS counts the deliveries itself and moves a message to the dead-letter queue when one more would exceed its
redrive policy's ``maxReceiveCount``. That is how a message that kills its process ends. One that is released
is buried here, at the same count, so that its reason is kept and nobody waits for another delivery.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import ClientError

from pipeline.aws_errors import code_of, translated
from pipeline.errors import Misuse, QueueUnavailable, Unavailable
from pipeline.queues.protocol import DEAD_SUFFIX, Depth, Received, checked_delay
from pipeline.queues.sqs_wire import LONGEST_WAIT, SqsWire, whole

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

KEPT = 10 * 86400
"""Seconds that a queue made here keeps a message; its dead-letter queue keeps it for 14 days, the most."""
DEAD_KEPT = 14 * 86400
HIDDEN = 1800.0
"""The visibility timeout of a queue made here, where none is given."""


class SqsBroker:
    """Queues of the account and region that the client belongs to, which stays its maker's to close.

    ``max_receives`` must be what the queues' redrive policies say. ``visibility`` replaces the queues' own
    visibility timeout for what is received here. With ``create``, for emulators and tests, a missing queue is
    made with its dead-letter queue; otherwise its first use raises ``Misuse``.
    """

    def __init__(
        self,
        client: SQSClient,
        *,
        create: bool = False,
        max_receives: int = 5,
        visibility: float | None = None,
    ) -> None:
        self._client = client
        self._create = create
        self._max_receives = max_receives
        self._visibility = visibility
        self._queues: dict[str, SqsQueue] = {}

    def queue(self, name: str) -> SqsQueue:
        """The queue of this name; one object a name, so that what was received is known in one place."""
        if name not in self._queues:
            dead = None if name.endswith(DEAD_SUFFIX) else self.queue(name + DEAD_SUFFIX)
            wire = SqsWire(self._client, name, self._find)
            hidden = None if self._visibility is None else whole(self._visibility)
            self._queues[name] = SqsQueue(wire, dead, self._max_receives, hidden)
        return self._queues[name]

    def close(self) -> None:
        """Return what is unacknowledged. The broker can be used again."""
        for queue in self._queues.values():
            queue.close()

    def _find(self, name: str) -> str:
        """The URL of the queue of this name."""
        with translated(QueueUnavailable, f"the queue {name}"):
            try:
                return self._client.get_queue_url(QueueName=name)["QueueUrl"]
            except ClientError as error:
                if not code_of(error).endswith(("NonExistentQueue", "QueueDoesNotExist")):
                    raise
                if not self._create:
                    raise Misuse(
                        f"there is no queue {name} in {self._client.meta.region_name}: is this the name and "
                        "region of `terraform apply`?"
                    ) from error
            return self._make(name)

    def _make(self, name: str) -> str:
        attributes: dict[QueueAttributeNameType, str] = {
            "VisibilityTimeout": str(whole(self._visibility or HIDDEN)),
            "MessageRetentionPeriod": str(KEPT),
        }
        if name.endswith(DEAD_SUFFIX):
            attributes["MessageRetentionPeriod"] = str(DEAD_KEPT)
        else:
            dead = self.queue(name + DEAD_SUFFIX).wire.url
            answer = self._client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
            attributes["RedrivePolicy"] = json.dumps(
                {
                    "deadLetterTargetArn": answer["Attributes"]["QueueArn"],
                    "maxReceiveCount": self._max_receives,
                }
            )
        return self._client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


class SqsQueue:
    """One queue of an ``SqsBroker``; ``pipeline.queues.protocol`` says what each method promises.

    Bodies are JSON text; bytes that are no text are a ``ValueError``. Delays and waits are whole seconds.
    """

    def __init__(self, wire: SqsWire, dead: SqsQueue | None, max_receives: int, hidden: int | None) -> None:
        self.name = wire.name
        self.wire = wire
        self._dead = dead
        self._max_receives = max_receives
        self._hidden = hidden
        self._held: set[str] = set()

    def send(self, bodies: Sequence[bytes], *, delay: float = 0.0, group: str = "") -> None:
        """Store the bodies; those of one ``group`` leave room for other groups."""
        self.wire.send(bodies, delay=whole(checked_delay(delay)), group=group)

    def receive(self, most: int, *, wait: float) -> list[Received]:
        """Up to ``most`` messages, in as many calls as it takes once there is a first one.

        Any wait is a long poll, of a second at least: a short poll asks some of SQS's servers only and may
        miss what is there, and a loop of short polls is billed by the call.
        """
        left = max(0, whole(wait))
        taken: list[Received] = []
        while len(taken) < most:
            step = 0 if taken else min(left, LONGEST_WAIT)
            left -= step
            try:
                drawn = self.wire.draw(most - len(taken), step, self._hidden)
            except QueueUnavailable:
                if not taken:
                    raise
                break  # what was taken has its delivery counted: it is worked on, and the next call says why
            taken += drawn
            self._held.update(one.receipt.handle for one in drawn)
            if not drawn and (taken or left <= 0):
                break
        return [self._explained(one) for one in taken]

    def ack(self, received: Received) -> None:
        """Forget the delivery."""
        self.wire.forget(received.receipt.handle)
        self._held.discard(received.receipt.handle)

    def release(self, received: Received, *, delay: float = 0.0) -> None:
        """Deliver again after ``delay``, or bury when the receives are spent."""
        delay = checked_delay(delay)
        if received.receipt.handle in self._held:
            self.give_back(received, delay)
            self._held.discard(received.receipt.handle)

    def bury(self, received: Received, *, reason: str) -> None:
        """Move to the dead-letter queue, where ``receipt.reason`` is this."""
        if received.receipt.handle in self._held:
            self.move(received, reason)
            self._held.discard(received.receipt.handle)

    def dead(self) -> SqsQueue:
        """The dead-letter queue; of a dead-letter queue, itself."""
        return self._dead or self

    def depth(self) -> Depth:
        """What waits and what is in flight over all consumers; SQS's own numbers lag by up to a minute."""
        return self.wire.depth()

    def close(self) -> None:
        """Return what was received and not settled; when SQS is away it returns by itself in time."""
        held, self._held = self._held, set()
        try:
            for handle in held:
                self.wire.show(handle, 0)
        except Unavailable:
            pass

    def give_back(self, received: Received, delay: float) -> bool:
        """What ``release`` does, also for a delivery that came another way; whether it is delivered again."""
        if self._dead is not None and received.receives >= self._max_receives:
            self.move(received, f"delivered {received.receives} times without an acknowledgement")
            return False
        self.wire.show(received.receipt.handle, whole(delay))
        return True

    def move(self, received: Received, reason: str) -> None:
        """What ``bury`` does, also for a delivery that came another way.

        Stored there before it is deleted here: a crash in between makes a duplicate, never a loss.
        """
        if self._dead is None:
            self.wire.show(received.receipt.handle, 0)
            return
        self._dead.wire.send_buried(received.body, reason)
        self.wire.forget(received.receipt.handle)

    def _explained(self, received: Received) -> Received:
        """The dead that SQS moved itself have no reason of ours, but there is only one way they got there."""
        if self._dead is not None or received.receipt.reason:
            return received
        reason = f"delivered {self._max_receives} times; the last consumer went away with it"
        return msgspec.structs.replace(
            received, receipt=msgspec.structs.replace(received.receipt, reason=reason)
        )
