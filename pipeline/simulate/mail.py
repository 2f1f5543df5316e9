"""Mail: the queues' server. It delivers at least once, in any order, late, and forgets what is too old."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import msgspec

from pipeline.queues.protocol import DEAD_SUFFIX, Depth, Received
from pipeline.simulate.faults import Faults, Violation
from pipeline.simulate.timeline import Actor

MAX_RECEIVES = 5
"""Deliveries without an acknowledgement before a message goes to the dead-letter queue."""

LATENESS = 90.0
"""Seconds by which a very late message comes late, on average."""


class Receipt(msgspec.Struct, frozen=True):
    """One delivery, and why its message was buried if it lies in a dead-letter queue."""

    number: int
    reason: str = ""


class _Message(msgspec.Struct):
    body: bytes
    sent_at: float
    receives: int = 0
    reason: str = ""
    flight: int = 0
    """The number of its latest delivery while nobody settled it; 0 while it waits or is gone."""
    number: int = 0
    """Of a dead letter: how many messages had been sent when it was buried."""


class _Box:
    """The messages of one queue."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, float, int, _Message]] = []
        self.flights: dict[int, _Message] = {}
        """Deliveries by number, taken back ones too: their receipts may still be used."""
        self.returns: list[tuple[float, int]] = []
        self.idle: dict[Actor, None] = {}


class Mail:
    """All queues of one simulation."""

    def __init__(self, faults: Faults, lost: Callable[[bytes], None]) -> None:
        """``lost`` is told of every message that expires or is buried."""
        self._faults = faults
        self._clock = faults.timeline
        self._random = faults.random
        self._lost = lost
        self._boxes: defaultdict[str, _Box] = defaultdict(_Box)
        self._numbers = itertools.count(1)
        self.archive: list[tuple[str, bytes]] = []
        """Every message ever sent, with its queue."""
        self._sent: dict[tuple[str, bytes], int] = {}
        """The place in the archive of each message's last sending."""

    def put(self, name: str, bodies: Sequence[bytes], delay: float = 0.0) -> None:
        """Store messages, which are due after ``delay`` or later."""
        for body in bodies:
            self.archive.append((name, body))
            self._sent[name, body] = len(self.archive)
            if not name.endswith(DEAD_SUFFIX) and self._faults.happens(self._faults.weather.expire):
                self._faults.note(name, "expired", _short(body))
                self._lost(body)
                continue
            late = self._late(self._faults.weather.late)
            self._wait(name, _Message(body, self._clock.now), delay + late)
            if self._faults.happens(self._faults.weather.repeat):
                self._faults.note(name, "repeated", _short(body))
                self._wait(name, _Message(body, self._clock.now), delay + self._late(1.0))
        self._notify(name)

    def take(self, name: str, most: int) -> list[Received]:
        """Deliver up to ``most`` messages that are due."""
        self._take_back(name)
        box = self._boxes[name]
        taken: list[Received] = []
        while box.waiting and box.waiting[0][0] <= self._clock.now and len(taken) < most:
            message = heapq.heappop(box.waiting)[3]
            message.receives += 1
            message.flight = next(self._numbers)
            box.flights[message.flight] = message
            heapq.heappush(box.returns, (self._clock.now + self._faults.weather.visibility, message.flight))
            receipt = Receipt(message.flight, message.reason)
            taken.append(Received(message.body, message.receives, receipt, message.sent_at))
        if taken:
            self._notify(name)
        return taken

    def forget(self, name: str, number: int) -> None:
        """Delete a message by one of its deliveries; by an old one, perhaps.

        Raises ``Violation`` for a dead letter that was not sent again since it is one.
        """
        message = self._boxes[name].flights.get(number)
        if message is None:
            return
        queue = name.removesuffix(DEAD_SUFFIX)
        if queue != name and self._sent.get((queue, message.body), 0) <= message.number:
            raise Violation(f"a dead letter of {queue} is forgotten and was not sent again: {message.body!r}")
        del self._boxes[name].flights[number]
        if message.flight == number:
            message.flight = 0
        elif self._random.random() < 0.5:
            self._delete(name, message)

    def give_back(self, name: str, number: int, delay: float) -> None:
        """Have a message delivered again, or bury it when those are spent; not by an old delivery."""
        message = self._landed(name, number)
        if message is not None:
            self._return(name, message, delay)
            self._notify(name)

    def depth(self, name: str) -> Depth:
        """Exact."""
        self._take_back(name)
        box = self._boxes[name]
        flying = sum(message.flight == number for number, message in box.flights.items())
        return Depth(len(box.waiting), flying)

    def await_any(self, name: str) -> None:
        """Have who is running wait until the queue may have something for it."""
        box = self._boxes[name]
        me = self._clock.current
        box.idle[me] = None
        self._clock.sleep(self._due(box) - self._clock.now)
        box.idle.pop(me, None)

    def names(self) -> list[str]:
        """Every queue that was used."""
        return list(self._boxes)

    def _late(self, chance: float) -> float:
        """Seconds: half of what is late comes a moment late, while the first delivery is being worked on."""
        if not self._faults.happens(chance):
            return 0.0
        return self._random.expovariate(1 / self._random.choice((1.0, LATENESS)))

    def _wait(self, name: str, message: _Message, delay: float) -> None:
        entry = (self._clock.now + delay, self._random.random(), next(self._numbers), message)
        heapq.heappush(self._boxes[name].waiting, entry)

    def _landed(self, name: str, number: int) -> _Message | None:
        self._take_back(name)
        message = self._boxes[name].flights.pop(number, None)
        if message is None or message.flight != number:
            return None
        message.flight = 0
        return message

    def _take_back(self, name: str) -> None:
        box = self._boxes[name]
        while box.returns and box.returns[0][0] <= self._clock.now:
            _, number = heapq.heappop(box.returns)
            message = box.flights.get(number)
            if message is not None and message.flight == number:
                message.flight = -1
                self._faults.note(name, "taken back", _short(message.body))
                self._return(name, message, 0.0)

    def _return(self, name: str, message: _Message, delay: float) -> None:
        if message.receives < MAX_RECEIVES or name.endswith(DEAD_SUFFIX):
            self._wait(name, message, delay)
        else:
            self._bury(name, message, f"delivered {message.receives} times without an acknowledgement")

    def _bury(self, name: str, message: _Message, reason: str) -> None:
        dead = name if name.endswith(DEAD_SUFFIX) else name + DEAD_SUFFIX
        self._faults.note(name, "buried", f"{_short(message.body)} {reason}")
        self._lost(message.body)
        # A copy: who still has a receipt of the message holds nothing of this one.
        self._wait(
            dead, _Message(message.body, message.sent_at, reason=reason, number=len(self.archive)), 0.0
        )
        self._notify(dead)

    def _delete(self, name: str, message: _Message) -> None:
        box = self._boxes[name]
        message.flight = 0
        box.waiting = [entry for entry in box.waiting if entry[3] is not message]
        heapq.heapify(box.waiting)

    def _due(self, box: _Box) -> float:
        due = box.waiting[0][0] if box.waiting else math.inf
        return min(due, box.returns[0][0]) if box.returns else due

    def _notify(self, name: str) -> None:
        box = self._boxes[name]
        due = self._due(box)
        for actor in box.idle:
            if due < actor.wake:
                self._clock.wake(actor, due)


def _short(body: bytes) -> str:
    """What of a message tells it from others, in a trace."""
    return body[:90].decode("utf-8", "replace")
