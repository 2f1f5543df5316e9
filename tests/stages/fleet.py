"""A simulated fleet that shares one pace state, and the check of what arrived at the engine."""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
import random
from collections.abc import Generator, Iterable
from typing import NamedTuple

from stages.pace import GRACE, Lease, PaceState, Wait, answered, give_back, lease, refuse
from stages.run import batch_size_for
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


SPREAD = 2.0
"""Seconds between the fastest and the slowest clock of an hour's copies."""

WATCH = 1.0
"""Seconds between a holder's looks at the state of its source."""

HOUR = 3_600.0


class Refusal(NamedTuple):
    """A refusal as the fleet knew it (true time), and when the source reopened; infinity if it did not."""

    known_at: float
    reopened_at: float


class Hour:
    """Hundreds of copies on one pace state for an hour of true time, each with its own wrong clock.

    Copies start late, wait between lease and request, forfeit what that makes late, are halted in one of
    fifty leases, have an invocation's time, die in the middle (each once an hour), and are replaced within a
    minute. There is always more work. A wake costs a lease, not a request, so that 200 requests a second can
    be looked at.
    """

    def __init__(self, pace: Politeness, copies: int, seed: int, refusals: int = 0) -> None:
        self._pace = pace
        self._chance = random.Random(seed)
        self._want = min(100, batch_size_for(pace.rate))
        self._state = PaceState()
        self._now = NOW
        self._plans: dict[int, list[float]] = {}
        self._numbers = itertools.count()
        self._wakes: list[tuple[float, int, Generator[float, None, None]]] = []
        self.arrivals: list[float] = []
        self.refusals: list[Refusal] = []
        for _ in range(copies):
            self._begin(NOW + self._chance.choice((0.0, self._chance.random() * 300)))
        for at in range(refusals):
            moment = NOW + HOUR * (at + self._chance.random()) / refusals
            heapq.heappush(self._wakes, (moment, next(self._numbers), self._refusal()))

    def run(self) -> list[float]:
        """The moments of the requests at the engine, in order."""
        while self._wakes and self._wakes[0][0] < NOW + HOUR:
            self._now, number, doing = heapq.heappop(self._wakes)
            again = next(doing, None)
            if again is not None:
                heapq.heappush(self._wakes, (max(self._now, again), number, doing))
        for plan in self._plans.values():
            self.arrivals += plan
        return sorted(moment for moment in self.arrivals if moment < NOW + HOUR)

    def _begin(self, moment: float) -> None:
        number = next(self._numbers)
        heapq.heappush(self._wakes, (moment, number, self._copy(number)))

    def _copy(self, number: int) -> Generator[float, None, None]:
        """Yields the true moments at which it wakes, from its start to its death."""
        chance = self._chance
        clock = (chance.random() - 0.5) * SPREAD
        dies_at = self._now + chance.expovariate(1 / HOUR)
        stops_at = self._now + 285.0
        while True:
            if self._now >= stops_at - 1:
                yield self._now + chance.random()
                stops_at = self._now + 285.0
            local = self._now + clock
            self._state, answer = lease(self._state, self._pace, local, self._want, stops_at - self._now)
            if isinstance(answer, Wait):
                yield answer.until - clock + chance.random() * 0.05
            else:
                yield from self._use(number, answer, clock, dies_at)
            if self._now >= dies_at:
                break
        self._begin(self._now + 1 + 60 * chance.random())

    def _use(self, number: int, held: Lease, clock: float, dies_at: float) -> Generator[float, None, None]:
        chance = self._chance
        ready = self._now + chance.choice((0.01, 0.05, 0.2, chance.random() * 3))
        used = held.count if chance.random() < 0.98 else chance.randrange(held.count + 1)
        pulse = chance.random
        plan: list[float] = []
        for at in range(used):
            slot = held.slot(at) - clock
            moment = max(slot, ready) + pulse() * GRACE * 0.9
            # What is late is forfeited.
            if moment <= slot + GRACE:
                plan.append(moment)
        if plan and plan[-1] > dies_at:
            del plan[bisect.bisect(plan, dies_at) :]
        self._plans[number] = plan
        yield min(dies_at, max(ready, held.slot(used - 1) - clock + GRACE) if used else ready)
        sent = self._plans.pop(number)
        self.arrivals += sent
        if self._now < dies_at:
            if held.trial and sent:
                self._reopen()
            self._state = give_back(self._state, held, held.count - used)

    def _reopen(self) -> None:
        was = self._state
        self._state = answered(was)
        if was.closed_since and not self._state.closed_since:
            self.refusals[-1] = self.refusals[-1]._replace(reopened_at=self._now)

    def _refusal(self) -> Generator[float, None, None]:
        """The engine refuses the next request: who sent it tells all, and holders look once a second."""
        if self._state.closed_since:
            return
        coming = [moment for plan in self._plans.values() for moment in plan if moment >= self._now]
        yield min(coming, default=self._now) + 0.05 + 0.3 * self._chance.random()
        if self._state.closed_since:
            return
        local = self._now + (self._chance.random() - 0.5) * SPREAD
        self._state = refuse(self._state, self._pace, local, None, "http_429")
        self.refusals.append(Refusal(self._now, math.inf))
        for plan in self._plans.values():
            looks_at = self._now + WATCH * self._chance.random() + 0.5 * self._chance.random()
            del plan[bisect.bisect(plan, looks_at) :]
