"""Queues inside one process: what tests and ``serpline run`` use, and the contract in its plainest form."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from pipeline.queues.protocol import DEAD_SUFFIX, Depth, Received, checked_delay


class Receipt(msgspec.Struct, frozen=True):
    """One delivery's number, and why the message was buried if it lies in a dead-letter queue."""

    number: int
    reason: str = ""


class _Message(msgspec.Struct, frozen=True):
    body: bytes
    receives: int = 0
    reason: str = ""


class _Flight(msgspec.Struct, frozen=True):
    message: _Message
    returns_at: float
    """When the message is taken back from its consumer; infinity without a visibility timeout."""


class _Store:
    """The messages of one queue."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[_Message] = deque()
        self.later: list[tuple[float, int, _Message]] = []
        self.flights: dict[int, _Flight] = {}  # in the order in which they time out: all have the same time


class MemoryBroker:
    """A broker for all threads of one process; nothing survives the process.

    Unlike other brokers one object may be used by every thread. ``clock`` decides what is due and what
    has timed out; how long a ``receive`` waits is real time, so a clock that stands still hangs nothing.
    With ``visibility`` a message that is not acknowledged within so many seconds is delivered again.
    """

    def __init__(
        self,
        *,
        max_receives: int = 5,
        visibility: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = _Server(max_receives, float("inf") if visibility is None else visibility, clock)
        self._opened: list[MemoryQueue] = []

    def queue(self, name: str) -> MemoryQueue:
        """A consumer's own view of the queue: its ``close`` gives back only what it received itself."""
        queue = MemoryQueue(self._server, name)
        self._opened.append(queue)
        return queue

    def close(self) -> None:
        """Return what every queue opened here holds; the messages stay, and the broker stays usable."""
        while self._opened:
            self._opened.pop().close()


class MemoryQueue:
    """One consumer's view of one queue of a ``MemoryBroker``."""

    def __init__(self, server: _Server, name: str) -> None:
        self.name = name
        self._server = server
        self._mine: set[int] = set()
        self._dead: MemoryQueue | None = self if name.endswith(DEAD_SUFFIX) else None

    def send(self, bodies: Sequence[bytes], *, delay: float = 0.0, group: str = "") -> None:  # noqa: ARG002
        """Put copies of the bodies at the back, due after ``delay``; one group is like another here."""
        delay = checked_delay(delay)
        with self._server.changed:
            self._server.put(self.name, [_Message(bytes(body)) for body in bodies], delay)

    def receive(self, most: int, *, wait: float) -> list[Received]:
        """Give up to ``most`` messages; a message that arrives during the wait ends it at once."""
        deadline = time.monotonic() + wait
        with self._server.changed:
            while True:
                next_tick = self._server.tick(self.name)
                taken = self._server.take(self.name, most)
                left = deadline - time.monotonic()
                if taken or left <= 0:
                    self._mine.update(received.receipt.number for received in taken)
                    return taken
                self._server.changed.wait(max(0.001, min(left, next_tick)))

    def ack(self, received: Received) -> None:
        """Forget the delivery; one that was settled or taken back before is no error."""
        with self._server.changed:
            self._land(received)

    def release(self, received: Received, *, delay: float = 0.0) -> None:
        """Deliver again after ``delay``, or bury when its receives are spent; stale ones are left alone."""
        delay = checked_delay(delay)
        with self._server.changed:
            message = self._land(received)
            if message is not None:
                self._server.give_back(self.name, message, delay)

    def bury(self, received: Received, *, reason: str) -> None:
        """Move to the dead-letter queue, where ``receipt.reason`` is this; stale ones are left alone."""
        with self._server.changed:
            message = self._land(received)
            if message is not None:
                self._server.bury(self.name, message, reason)

    def dead(self) -> MemoryQueue:
        """The dead-letter queue; of a dead-letter queue, itself."""
        if self._dead is None:
            self._dead = MemoryQueue(self._server, self.name + DEAD_SUFFIX)
        return self._dead

    def depth(self) -> Depth:
        """Exact, over all consumers."""
        with self._server.changed:
            self._server.tick(self.name)
            store = self._server.store(self.name)
            return Depth(len(store.ready) + len(store.later), len(store.flights))

    def close(self) -> None:
        """Return what was received here, and from ``dead()``, and not settled; its delivery was counted."""
        with self._server.changed:
            for number in sorted(self._mine):
                message = self._server.land(self.name, number)
                if message is not None:
                    self._server.give_back(self.name, message, 0.0)
            self._mine.clear()
            if self._dead is not None and self._dead is not self:
                self._dead.close()

    def _land(self, received: Received) -> _Message | None:
        self._mine.discard(received.receipt.number)
        self._server.tick(self.name)  # what has timed out is somebody else's, whether or not anyone looked
        return self._server.land(self.name, received.receipt.number)


class _Server:
    """What the threads share. Every method is called with ``changed`` held."""

    def __init__(self, max_receives: int, visibility: float, clock: Callable[[], float]) -> None:
        self.changed = threading.Condition(threading.RLock())
        self._max_receives = max_receives
        self._visibility = visibility
        self._clock = clock
        self._stores: dict[str, _Store] = {}
        self._numbers = itertools.count(1)

    def store(self, name: str) -> _Store:
        return self._stores.setdefault(name, _Store(name))

    def put(self, name: str, messages: Sequence[_Message], delay: float = 0.0) -> None:
        store = self.store(name)
        if delay > 0:
            due = self._clock() + delay
            for message in messages:
                heapq.heappush(store.later, (due, next(self._numbers), message))
        else:
            store.ready.extend(messages)
        self.changed.notify_all()

    def give_back(self, name: str, message: _Message, delay: float) -> None:
        """Put a delivered message back, or into the dead-letter queue when its receives are spent."""
        if message.receives < self._max_receives or name.endswith(DEAD_SUFFIX):
            self.put(name, [message], delay)
        else:
            self.bury(name, message, f"delivered {message.receives} times without an acknowledgement")

    def bury(self, name: str, message: _Message, reason: str) -> None:
        if name.endswith(DEAD_SUFFIX):
            self.put(name, [message])
        else:
            self.put(name + DEAD_SUFFIX, [_Message(message.body, reason=reason)])

    def tick(self, name: str) -> float:
        """Make ready what is due or has timed out; gives the seconds until there is more of it."""
        store = self.store(name)
        now = self._clock()
        while store.later and store.later[0][0] <= now:
            store.ready.append(heapq.heappop(store.later)[2])
        while (oldest := next(iter(store.flights), None)) and store.flights[oldest].returns_at <= now:
            self.give_back(name, store.flights.pop(oldest).message, 0.0)
        moments = [due for due, _, _ in store.later[:1]]
        moments += [store.flights[oldest].returns_at] if oldest else []
        return min(moments, default=float("inf")) - now

    def take(self, name: str, most: int) -> list[Received]:
        store = self.store(name)
        until = self._clock() + self._visibility
        taken: list[Received] = []
        while store.ready and len(taken) < most:
            waiting = store.ready.popleft()
            message = msgspec.structs.replace(waiting, receives=waiting.receives + 1)
            number = next(self._numbers)
            store.flights[number] = _Flight(message, until)
            taken.append(Received(message.body, message.receives, Receipt(number, message.reason)))
        return taken

    def land(self, name: str, number: int) -> _Message | None:
        """Take a delivery out of flight; None when it is not there any more."""
        flight = self.store(name).flights.pop(number, None)
        return None if flight is None else flight.message
