"""Queues as one life of a process has them; whatever it does there may fail, or end it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import QueueUnavailable
from pipeline.queues.protocol import DEAD_SUFFIX, Depth, Received, checked_delay
from pipeline.simulate.faults import Faults, Life, Violation
from pipeline.simulate.mail import Mail


class SimulatedBroker:
    """Opens queues for one life."""

    def __init__(self, mail: Mail, faults: Faults, life: Life) -> None:
        self._mail = mail
        self._faults = faults
        self._life = life

    def queue(self, name: str) -> SimulatedQueue:
        """The queue of this name."""
        return SimulatedQueue(name, self._mail, self._faults, self._life)

    def close(self) -> None:
        """Nothing is held: what was not settled comes back by itself."""


class SimulatedQueue:
    """One queue, in one life."""

    def __init__(self, name: str, mail: Mail, faults: Faults, life: Life) -> None:
        self.name = name
        self._mail = mail
        self._faults = faults
        self._life = life

    def send(self, bodies: Sequence[bytes], *, delay: float = 0.0, group: str = "") -> None:  # noqa: ARG002
        """Store all of them, or some and an error, ten at a time as SQS does."""
        delay = checked_delay(delay)
        for first in range(0, len(bodies), 10):
            some = bodies[first : first + 10]
            self._faults.effect(
                self._life,
                "send",
                f"{self.name} {len(some)}",
                lambda some=some: self._store(some, delay),  # type: ignore[misc]
                QueueUnavailable,
            )

    def _store(self, bodies: Sequence[bytes], delay: float) -> None:
        if self._faults.happens(self._faults.weather.throttle):
            # Of one call some entries are taken and others are not.
            self._mail.put(self.name, bodies[: self._faults.random.randrange(len(bodies))], delay)
            self._faults.note(self._life.name, "stored some", self.name)
            raise QueueUnavailable("simulated: some of the messages were not taken")
        self._mail.put(self.name, bodies, delay)

    def receive(self, most: int, *, wait: float) -> list[Received]:
        """What is due now, or after the wait."""
        self._faults.look(self._life, self.name, QueueUnavailable)
        taken = self._mail.take(self.name, most)
        if not taken and wait > 0:
            self._faults.timeline.sleep(wait)
            self._faults.alive(self._life)
            taken = self._mail.take(self.name, most)
        if taken:
            self._faults.note(self._life.name, "receive", f"{self.name} {len(taken)}")
            if self._faults.happens(self._faults.weather.kill):
                self._faults.kill(self._life, "after receive", self.name)
        return taken

    def ack(self, received: Received) -> None:
        """Forget it."""
        number = received.receipt.number
        self._faults.effect(
            self._life, "ack", self.name, lambda: self._mail.forget(self.name, number), QueueUnavailable
        )

    def release(self, received: Received, *, delay: float = 0.0) -> None:
        """Give it back."""
        delay = checked_delay(delay)
        number = received.receipt.number
        self._faults.effect(
            self._life,
            "release",
            self.name,
            lambda: self._mail.give_back(self.name, number, delay),
            QueueUnavailable,
        )

    def bury(self, received: Received, *, reason: str) -> None:
        """Nothing that enters here is wrong, so nothing may be refused for good."""
        raise Violation(f"a message of {self.name} was refused for good: {reason}; {received.body[:300]!r}")

    def dead(self) -> SimulatedQueue:
        """The dead-letter queue; of a dead-letter queue, itself."""
        if self.name.endswith(DEAD_SUFFIX):
            return self
        return SimulatedQueue(self.name + DEAD_SUFFIX, self._mail, self._faults, self._life)

    def depth(self) -> Depth:
        """Exact, where it is told at all."""
        self._faults.look(self._life, self.name, QueueUnavailable)
        return self._mail.depth(self.name)

    def close(self) -> None:
        """Nothing is held."""
