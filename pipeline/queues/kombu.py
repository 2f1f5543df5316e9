"""Redis and RabbitMQ as queues, through kombu, with the promises that kombu leaves open.

kombu counts no deliveries and has no dead-letter queue. Here each message carries the number of receives
it has used up. Whatever changes that number is stored as a new message first, and the old one is dropped
after it: a crash in between makes a duplicate, never a loss.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import SplitResult, urlsplit

import msgspec

from pipeline.errors import Misuse, QueueUnavailable
from pipeline.queues.kombu_wire import Drawn, Parcel, Wire
from pipeline.queues.protocol import DEAD_SUFFIX, Depth, Received, checked_delay


class Receipt(msgspec.Struct, frozen=True):
    """One delivery's number, and why the message was buried if it lies in a dead-letter queue."""

    number: int
    reason: str = ""


class KombuBroker:
    """Queues on ``redis://``, ``rediss://``, ``amqp://``, ``amqps://`` or kombu's ``memory://``.

    ``visibility`` is for Redis: a consumer that holds a message for longer has lost it to another one.
    RabbitMQ sees at once that a consumer is gone, and has its own limit (``consumer_timeout``, 30 minutes).
    Connects at the first call, and again at the next call after an outage. Raises ``Misuse`` for a URL
    that is none of these, and ``QueueUnavailable`` from every call that the broker did not answer.
    """

    def __init__(self, url: str, *, max_receives: int = 5, visibility: float = 3600.0) -> None:
        self._line = _Line(url, visibility)
        self._max_receives = max_receives
        self._queues: dict[str, KombuQueue] = {}

    def queue(self, name: str) -> KombuQueue:
        """The queue of this name; one object a name, so that what was received is known in one place."""
        if name not in self._queues:
            dead = None if name.endswith(DEAD_SUFFIX) else self.queue(name + DEAD_SUFFIX)
            self._queues[name] = KombuQueue(name, dead, self._line, self._max_receives)
        return self._queues[name]

    def close(self) -> None:
        """Return what is unacknowledged, and close the connection. The broker can be used again."""
        for queue in self._queues.values():
            queue.close()
        self._line.hang_up()


class KombuQueue:
    """One queue of a ``KombuBroker``; ``pipeline.queues.protocol`` says what each method promises."""

    def __init__(self, name: str, dead: KombuQueue | None, line: _Line, max_receives: int) -> None:
        self.name = name
        self._dead = dead
        self._line = line
        self._max_receives = max_receives
        self._numbers = itertools.count(1)
        self._held: dict[int, tuple[int, Drawn]] = {}

    def send(self, bodies: Sequence[bytes], *, delay: float = 0.0, group: str = "") -> None:  # noqa: ARG002
        """Store the bodies; they can be received after ``delay``. One group is like another here."""
        delay = checked_delay(delay)
        with self._line.wire() as wire:
            wire.put(self.name, [Parcel(bytes(body)) for body in bodies], delay)

    def receive(self, most: int, *, wait: float) -> list[Received]:
        """Up to ``most`` messages that are due, each with its receives counted."""
        deadline = time.monotonic() + wait
        while True:
            with self._line.wire() as wire:
                drawn = wire.draw(self.name, most, max(0.0, deadline - time.monotonic()))
                self._recount(wire, [one for one in drawn if one.redelivered])
            fresh = [one for one in drawn if not one.redelivered]
            if fresh or not drawn:
                return [self._hold(one) for one in fresh]

    def ack(self, received: Received) -> None:
        """Forget the delivery."""
        with self._line.wire() as wire:
            drawn = self._drawn(received)
            if drawn is not None:
                wire.drop([drawn.tag])
        self._held.pop(received.receipt.number, None)

    def release(self, received: Received, *, delay: float = 0.0) -> None:
        """Deliver again after ``delay``, or bury when the receives are spent."""
        delay = checked_delay(delay)
        reason = f"delivered {received.receives} times without an acknowledgement"
        self._move(received, reason if received.receives >= self._max_receives else None, delay)

    def bury(self, received: Received, *, reason: str) -> None:
        """Move to the dead-letter queue, where ``receipt.reason`` is this."""
        self._move(received, reason, 0.0)

    def dead(self) -> KombuQueue:
        """The dead-letter queue; of a dead-letter queue, itself."""
        return self._dead or self

    def depth(self) -> Depth:
        """What waits, from the broker; in flight is what this object holds."""
        with self._line.wire() as wire:
            waiting = wire.size(self.name)
            return Depth(waiting, sum(self._line.reaches(call) for call, _ in self._held.values()))

    def close(self) -> None:
        """Return what was received and not settled; a broker that is away returns it by itself in time."""
        try:
            for call, drawn in list(self._held.values()):
                with self._line.wire() as wire:
                    if self._line.reaches(call) and wire.holds(drawn.tag):
                        self._recount(wire, [drawn])
        except QueueUnavailable:
            pass
        self._held.clear()

    def _hold(self, drawn: Drawn) -> Received:
        number = next(self._numbers)
        self._held[number] = (self._line.call, drawn)
        return Received(drawn.parcel.body, drawn.parcel.receives + 1, Receipt(number, drawn.parcel.reason))

    def _drawn(self, received: Received) -> Drawn | None:
        """What the receipt stands for; None when it is stale."""
        call, drawn = self._held.get(received.receipt.number, (0, None))
        return drawn if self._line.reaches(call) else None

    def _move(self, received: Received, burial: str | None, delay: float) -> None:
        with self._line.wire() as wire:
            drawn = self._drawn(received)
            if drawn is not None and wire.holds(drawn.tag):
                parcel = msgspec.structs.replace(drawn.parcel, receives=received.receives)
                if burial is None or self._dead is None:
                    wire.put(self.name, [parcel], delay)
                else:
                    wire.put(self._dead.name, [Parcel(parcel.body, reason=burial)])
                wire.drop([drawn.tag])
        self._held.pop(received.receipt.number, None)

    def _recount(self, wire: Wire, drawn: Sequence[Drawn]) -> None:
        """Write down that these deliveries came to nothing: store each again with its receive spent.

        Neither broker can change a message where it lies, and both only say that a message was delivered
        before, not how often. Without this a message that kills its process would come back for ever.
        """
        if not drawn:
            return
        spent = [msgspec.structs.replace(one.parcel, receives=one.parcel.receives + 1) for one in drawn]
        alive = [one for one in spent if one.receives < self._max_receives or self._dead is None]
        over = [one for one in spent if one.receives >= self._max_receives]
        if alive:
            wire.put(self.name, alive)
        if over and self._dead is not None:
            reason = "delivered {} times; the last consumer went away with it"
            graves = [Parcel(one.body, reason=reason.format(one.receives)) for one in over]
            wire.put(self._dead.name, graves)
        wire.drop([one.tag for one in drawn])


class _Line:
    """The connection, made when it is needed and given up after an error."""

    def __init__(self, url: str, visibility: float) -> None:
        self._url = url
        self._where = _without_credentials(url)
        self._make = _wire_class(self._where.partition(":")[0])
        self._visibility = visibility
        self._wire: Wire | None = None
        self.call = 0
        """Which connection this is, counted from 1."""

    @contextmanager
    def wire(self) -> Iterator[Wire]:
        """The live connection; whatever the driver raises becomes ``QueueUnavailable``."""
        try:
            if self._wire is None:
                self._wire = self._make(self._url, self._visibility)
                self.call += 1
            yield self._wire
        except self._make.errors as error:
            self.hang_up()
            said = str(error).replace(self._url, self._where) or "no answer"
            raise QueueUnavailable(
                f"{self._where} did not do it ({type(error).__name__}: {said}): see that the broker runs, "
                "can be reached from here and lets this user in; the next call connects anew"
            ) from error

    def reaches(self, call: int) -> bool:
        """Whether what was drawn on that connection can be settled on this one."""
        return call > 0 and (call == self.call or self._make.tags_last)

    def hang_up(self) -> None:
        """Close the connection, if there is one and it still listens."""
        wire, self._wire = self._wire, None
        if wire is not None:
            with suppress(*self._make.errors):
                wire.close()


def _without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        host = parts.hostname or ""
    except ValueError:
        # The cause names a piece of the URL, which may be a piece of the password.
        raise Misuse("the broker's URL cannot be read: percent-encode its user and password") from None
    return SplitResult(parts.scheme, host + port, parts.path, "", "").geturl()


def _wire_class(scheme: str) -> type[Wire]:
    # A driver is loaded when a URL asks for it: a worker on RabbitMQ needs no redis package.
    if scheme in ("redis", "rediss"):
        from pipeline.queues.kombu_redis import RedisWire  # noqa: PLC0415 - loaded when asked for

        return RedisWire
    if scheme in ("amqp", "amqps"):
        from pipeline.queues.kombu_amqp import AmqpWire  # noqa: PLC0415 - loaded when asked for

        return AmqpWire
    if scheme == "memory":
        from pipeline.queues.kombu_memory import MemoryWire  # noqa: PLC0415 - loaded when asked for

        return MemoryWire
    raise Misuse(f"no broker for {scheme or 'this'}://: it can be redis, rediss, amqp or amqps")
