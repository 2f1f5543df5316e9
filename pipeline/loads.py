"""Loads: the work that a file is for one source, and how long that takes."""

from __future__ import annotations

import math

import msgspec

from pipeline.backlog import Room
from stages.quota import DAY


class Terms(msgspec.Struct, frozen=True):
    """A deployed source: its pace, and its functions.

    ``latency`` is seconds of one answer, ``quota`` requests a day (0: none).
    """

    rate: float
    concurrency: int = 2
    copies: int = 2
    latency: float = 0.3
    memory: int = 512
    timeout: float = 300.0
    quota: int = 0

    @property
    def reach(self) -> float:
        """Requests a second that the functions can have open, whatever the rate allows."""
        return self.copies * self.concurrency / self.latency

    @property
    def speed(self) -> float:
        """Pages a second."""
        return min(self.rate, self.reach)


class Load(msgspec.Struct, frozen=True):
    """Work for one source, over ``spread`` seconds if that is longer than it takes."""

    source: str
    terms: Terms
    tasks: int
    batches: int
    spread: float = 0.0

    @property
    def alone(self) -> float:
        """Seconds that asking takes, where neither a quota nor a spread draws it out."""
        return self.tasks / self.terms.speed

    @property
    def days(self) -> int:
        """Days of its quota that it needs; 0 without a quota."""
        return math.ceil(self.tasks / self.terms.quota) if self.terms.quota else 0

    @property
    def seconds(self) -> float:
        """How long it takes, from the beginning of a quota's day."""
        before = max(0, self.days - 1)
        last = (self.tasks - before * self.terms.quota) / self.terms.speed
        return max(self.alone, before * DAY + last, self.spread)

    def queued(self, horizon: float) -> int:
        """Tasks that the queue holds at first; the rest is backlog."""
        return min(self.tasks, math.ceil(Room(self.terms.rate, horizon, self.terms.quota).tasks))
