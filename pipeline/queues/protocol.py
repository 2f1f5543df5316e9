"""What every queue promises, whichever broker carries it.

At least once: a message is delivered again unless it was acknowledged, so every consumer is
idempotent. The number of deliveries is counted on every broker, and a message that was delivered
``max_receives`` times without an acknowledgement moves to the queue's dead-letter queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

MAX_DELAY = 900.0
"""The longest delay in seconds that every broker honours (SQS's limit)."""


DEAD_SUFFIX = "-dead"
"""A dead-letter queue is named after its queue, with this at the end."""


def checked_delay(delay: float) -> float:
    """The delay, where less than nothing is nothing; ``ValueError`` if a broker could not honour it."""
    if not delay <= MAX_DELAY:
        raise ValueError(f"a delay of {delay} s is beyond {MAX_DELAY:.0f} s: keep it in the backlog instead")
    return max(0.0, delay)


class Received(msgspec.Struct, frozen=True):
    """One delivery: the body as sent, which delivery this is (1 = the first), and its receipt.

    The receipt is the broker's own, and good for this process only. Every receipt has a ``reason``: why the
    message was buried, when it comes from a dead-letter queue. ``sent_at`` is when it was sent, in seconds
    since 1970; 0 on brokers that do not know.
    """

    body: bytes
    receives: int
    receipt: Any
    sent_at: float = 0.0


class Depth(msgspec.Struct, frozen=True):
    """Messages by state: waiting (delayed ones included) and delivered but not acknowledged.

    On a broker with several consumers ``in_flight`` may count only this process's own.
    """

    waiting: int
    in_flight: int


class Queue(Protocol):
    """One named queue. Raises ``QueueUnavailable`` where the broker does."""

    name: str

    def send(self, bodies: Sequence[bytes], *, delay: float = 0.0, group: str = "") -> None:
        """Put the bodies at the back; they become visible after ``delay`` seconds (≤ 900).

        A body is JSON text: not every broker carries other bytes. Where the broker can be fair (SQS), a
        ``group`` with little to do does not wait behind one with much; the others ignore it.
        Returning means stored. After an error some of the bodies may have been stored: send all again.
        Raises ``ValueError`` for a delay beyond ``MAX_DELAY``.
        """

    def receive(self, most: int, *, wait: float) -> list[Received]:
        """Give up to ``most`` messages, waiting at most ``wait`` seconds for the first one.

        Never gives a message before it is due, and one that is not due yet delays none behind it. Times are
        whole seconds on SQS, rounded up.
        """

    def ack(self, received: Received) -> None:
        """Done: forget this delivery. An unknown or stale receipt is not an error."""

    def release(self, received: Received, *, delay: float = 0.0) -> None:
        """Failed: deliver again after ``delay`` seconds, or bury it when its receives are spent.

        A stale receipt is not an error here either: the message is then with somebody else.
        """

    def bury(self, received: Received, *, reason: str) -> None:
        """Will never succeed: move it to the dead-letter queue now, with the reason."""

    def dead(self) -> Queue:
        """The dead-letter queue of this queue; its messages' bodies are unchanged.

        It has no dead-letter queue but itself: however often its messages are received, they stay until
        they are acknowledged.
        """

    def depth(self) -> Depth:
        """How much is waiting and in flight, as well as the broker knows."""

    def close(self) -> None:
        """Give back connections; unacknowledged messages return to the queue, their delivery counted."""


class Broker(Protocol):
    """Opens queues by name on one server; one broker object belongs to one thread."""

    def queue(self, name: str) -> Queue:
        """The queue of this name, made if it does not exist."""

    def close(self) -> None:
        """Close every queue opened here and the connection."""
