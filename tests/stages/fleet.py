"""A simulated fleet that shares one pace state, and the check of what arrived at the engine."""

from __future__ import annotations

import heapq
import random
from collections.abc import Generator, Iterable

from stages.pace import GRACE, Lease, PaceState, give_back, lease
from stages.source import Politeness

NOW = 1_750_000_000.0


class Fleet:
    """Holders that lease, send at their slots, and lease again; time is simulated.

    Unruly ones come late, forfeit slots, stop early with or without giving back, rest for long, or
    die and are replaced. Ruly ones use every slot.
    """

    def __init__(self, pace: Politeness, holders: int, seed: int, *, unruly: bool = False) -> None:
        self._pace = pace
        self._chance = random.Random(seed)
        self._unruly = unruly
        self._holders = [self._holder() for _ in range(holders)]
        self._state = PaceState()
        self._now = NOW
        self._arrivals: list[float] = []

    def run(self, requests: int) -> list[float]:
        """Simulate until about so many requests arrived, and give their moments, in order."""
        waiting = [(NOW + self._chance.random(), at) for at in range(len(self._holders))]
        turns = 0
        while waiting and len(self._arrivals) < requests and turns < requests * 20:
            turns += 1
            self._now, at = heapq.heappop(waiting)
            heapq.heappush(waiting, (max(self._now, next(self._holders[at])), at))
        return sorted(self._arrivals)

    def _holder(self) -> Generator[float, None, None]:
        """Yields the moments at which it wants to wake."""
        while True:
            self._state, answer = lease(self._state, self._pace, self._now, self._chance.choice((1, 7, 100)))
            if isinstance(answer, Lease):
                yield from self._use(answer)
                yield self._now + self._pause()
            else:
                yield answer.until

    def _use(self, held: Lease) -> Generator[float, None, None]:
        early = self._unruly and self._chance.random() < 0.3
        stop = self._chance.randrange(held.count + 1) if early else held.count
        for at in range(stop):
            moment = held.slot(at)
            yield moment + self._delay()
            if self._now <= moment + GRACE:
                self._arrivals.append(self._now)
        if not self._unruly or self._chance.random() < 0.8:
            self._state = give_back(self._state, held, held.count - stop)
            if self._unruly and self._chance.random() < 0.2:
                self._state = give_back(self._state, held, held.count - stop)

    def _delay(self) -> float:
        if not self._unruly:
            return 0.0
        return self._chance.choice((0.0, 0.01, GRACE * 0.999, self._chance.random() * 3 * GRACE))

    def _pause(self) -> float:
        if not self._unruly:
            return 0.0
        return self._chance.choice((0.0, 0.0, self._chance.random() * 5, 200 / self._pace.rate))


def most_above(arrivals: Iterable[float], rate: float) -> float:
    """The largest (requests - rate · w) over all windows of any w seconds, both ends included."""
    most = lowest = float("-inf")
    for number, moment in enumerate(arrivals):
        level = number - rate * (moment - NOW)
        lowest = max(lowest, -level)
        most = max(most, level + lowest + 1)
    return most
