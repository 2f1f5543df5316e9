"""Pace: the arithmetic that keeps a fleet within one rate, on a state small enough for one record.

The generic cell rate algorithm (ITU-T I.371, there for ATM cells): a virtual clock ``tat``, the
theoretical arrival time of the next request, moves one interval a request. A lease takes n
slots of it at once. Every function gives a new state; the pacers only store it conditionally.

Times are seconds since the epoch.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from stages.source import Politeness

HORIZON = 60.0
"""A lease reaches at most this far ahead, so that one dead copy wastes no more than a minute."""

GRACE = 0.25
"""A slot not used within this of its moment is forfeited; late requests would bunch up."""

SHORTEST_REST = 1.0
"""An engine that refuses and says «at once» is not asked at once."""

FORGOTTEN = 3_600.0
"""A closed source that nobody tried for so long after its rest: nobody waits for it since it was closed."""

TRIAL = 60.0
"""A trial request whose outcome nobody reported for this long is given to somebody else."""


class PaceState(msgspec.Struct, frozen=True):
    """What is stored of a source, for the whole fleet.

    ``leases`` counts leases given and dates them; ``closed_since`` is 0 while the source is open;
    ``refusals`` counts refusals since the last answer; ``trial_until`` is when a trial lapses.
    """

    tat: float = 0.0
    leases: int = 0
    closed_until: float = 0.0
    closed_since: float = 0.0
    refusals: int = 0
    reason: str = ""
    trial_until: float = 0.0


class Lease(msgspec.Struct, frozen=True):
    """Permission for ``count`` requests: number i at ``start`` + i * ``interval``, or now if that is past."""

    granted: float
    start: float
    interval: float
    count: int
    number: int
    trial: bool = False

    def slot(self, at: int) -> float:
        """The moment of request number ``at``, from 0."""
        return max(self.granted, self.start + at * self.interval)


class Wait(msgspec.Struct, frozen=True):
    """No permission before ``until``; ``reason`` is ``rate``, ``closed`` or ``trial``."""

    until: float
    reason: Literal["rate", "closed", "trial"]


def lease(
    state: PaceState, pace: Politeness, now: float, want: int, within: float = HORIZON
) -> tuple[PaceState, Lease | Wait]:
    """Give permission for up to ``want`` requests, as many as fit in the next ``HORIZON`` seconds.

    ``within`` is how many seconds the holder has left: slots that it cannot live to use are not taken
    from those who can.
    """
    if state.closed_since:
        return _trial(state, pace, now)
    interval = 1.0 / pace.rate
    start = max(state.tat, now - (pace.burst - 1) * interval)
    ahead = min(HORIZON, within)
    room = now + ahead - start
    if room <= 0:
        return state, Wait(max(now, start - ahead) + min(interval, HORIZON), "rate")
    count = max(1, min(want, int(room * pace.rate)))
    taken = msgspec.structs.replace(state, tat=_after(start, count, interval), leases=state.leases + 1)
    return taken, Lease(now, start, interval, count, taken.leases)


def _after(start: float, count: int, interval: float) -> float:
    """The moment after so many slots, rounded up: rounded down, lease by lease, the rate would creep up."""
    return math.nextafter(start + count * interval, math.inf)


def _trial(state: PaceState, pace: Politeness, now: float) -> tuple[PaceState, Lease | Wait]:
    """One request decides whether a closed source is open again; nobody else asks meanwhile."""
    if now < state.closed_until:
        return state, Wait(state.closed_until, "closed")
    if now < state.trial_until:
        return state, Wait(state.trial_until, "trial")
    start = max(state.tat, now)
    if start > now + HORIZON:
        return state, Wait(start - HORIZON, "rate")
    interval = 1.0 / pace.rate
    tried = msgspec.structs.replace(
        state, tat=_after(start, 1, interval), leases=state.leases + 1, trial_until=start + TRIAL
    )
    return tried, Lease(now, start, interval, 1, tried.leases, trial=True)


def give_back(state: PaceState, given: Lease, unused: int) -> PaceState:
    """Return the last ``unused`` slots of a lease, but only while nobody leased after it.

    Returning them twice returns them once: a store may repeat what it was not sure of.
    """
    if state.leases != given.number or state.closed_since or unused <= 0:
        return state
    used = max(0, given.count - unused)
    return msgspec.structs.replace(state, tat=min(state.tat, _after(given.start, used, given.interval)))


def refuse(state: PaceState, pace: Politeness, now: float, until: float | None, reason: str) -> PaceState:
    """Close the source: until the moment the engine named, or for its rest, doubled for refusals in a row.

    Refusals that were on their way when the first one came do not double the rest again.
    """
    in_a_row = state.refusals if now < state.closed_until else state.refusals + 1
    forgotten = now > state.closed_until + FORGOTTEN
    rest = min(pace.max_rest, pace.rest * 2.0 ** min(max(in_a_row, 1) - 1, 64))
    reopens = max(until, now + SHORTEST_REST) if until is not None else now + rest
    return msgspec.structs.replace(
        state,
        closed_until=max(state.closed_until, reopens),
        closed_since=state.closed_since if state.closed_since and not forgotten else now,
        refusals=in_a_row,
        reason=reason,
        trial_until=0.0,
    )


def answered(state: PaceState) -> PaceState:
    """A trial was answered: the source is open again, unless it was refused once more meanwhile."""
    if not state.trial_until:
        return state
    return msgspec.structs.replace(
        state, closed_until=0.0, closed_since=0.0, refusals=0, reason="", trial_until=0.0
    )
