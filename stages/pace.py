"""Pace: the arithmetic that keeps a fleet within one rate, on a state small enough for one record.

The generic cell rate algorithm (ITU-T I.371, there for ATM cells): a virtual clock ``tat``, the
theoretical arrival time of the next request, moves one interval a request. A lease takes n
slots of it at once. Every function gives a new state; the pacers only store it conditionally.

Beside the rate stands what is left of a day's quota, and what the engine's own headers ask for in addition:
both only ever make a source slower.

Times are seconds since the epoch.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from stages.quota import quota_day
from stages.rate_headers import Allowance
from stages.records import Closing
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

TOLD = 15.0
"""Seconds beyond the longest answer for what else a trial takes: its slot's grace, reading, telling."""

YIELDED = 300.0
"""Seconds for which a trial is left to the lane that was refused: it may have died, or been switched off."""

SLOWED = 600.0
"""A slower pace that headers ask for lasts this long, or two requests, and is renewed in its last half."""

ROUNDED = 1.0
"""Headers give the seconds until a window begins anew in whole ones, rounded up."""

REMEMBERED = 64
"""Of so many last leases a state knows whether they gave back: an older one keeps its share of a quota."""


class PaceState(msgspec.Struct, frozen=True):
    """What is stored of a source, for the whole fleet.

    ``leases`` counts leases given and dates them; ``closed_since`` is 0 while the source is open;
    ``refusals`` counts refusals since the last answer; ``trial_until`` is when a trial lapses;
    ``untold`` what happened to the source and nobody told yet, ``forgotten`` how much of that had no room
    (see ``stages.closings``).
    ``quota_day`` is when the day began of whose quota ``quota_used`` requests were leased, ``returned`` the
    last leases that gave some back, ``spent_until`` when the next day begins if nothing is left of this one.
    ``held_until`` and ``slow_rate`` (until ``slow_until``) are what the engine's headers asked for.
    ``lane`` is which of the source's functions was refused: it makes the trial.
    """

    tat: float = 0.0
    leases: int = 0
    closed_until: float = 0.0
    closed_since: float = 0.0
    refusals: int = 0
    reason: str = ""
    trial_until: float = 0.0
    untold: tuple[Closing, ...] = ()
    quota_day: float = 0.0
    quota_used: int = 0
    returned: tuple[int, ...] = ()
    spent_until: float = 0.0
    held_until: float = 0.0
    slow_rate: float = 0.0
    slow_until: float = 0.0
    lane: str = ""
    forgotten: int = 0


class Lease(msgspec.Struct, frozen=True):
    """Permission for ``count`` requests: number i at ``start`` + i * ``interval``, or now if that is past.

    ``day`` is when the day of the quota began that they are counted in; 0 without a quota.
    """

    granted: float
    start: float
    interval: float
    count: int
    number: int
    trial: bool = False
    day: float = 0.0

    def slot(self, at: int) -> float:
        """The moment of request number ``at``, from 0."""
        return max(self.granted, self.start + at * self.interval)


class Wait(msgspec.Struct, frozen=True):
    """No permission before ``until``; ``reason`` is ``rate``, ``closed``, ``trial`` or ``quota``."""

    until: float
    reason: Literal["rate", "closed", "trial", "quota"]


class _Day(msgspec.Struct, frozen=True):
    """What may be leased of a day's quota: so many more requests, before it ``ends``."""

    state: PaceState
    left: float = math.inf
    ends: float = math.inf
    following: float = math.inf


def lease(  # what the fleet knows, what the file says, and who asks for what
    state: PaceState,
    pace: Politeness,
    now: float,
    want: int,
    within: float = HORIZON,
    *,
    lane: str = "",
    answer: float = 0.0,
) -> tuple[PaceState, Lease | Wait]:
    """Give permission for up to ``want`` requests, as many as fit in the next ``HORIZON`` seconds.

    ``within`` is how many seconds the holder has left: slots that it cannot live to use are not taken
    from those who can. A lease holds no more than is left of the day's quota, and ends with that day.
    ``lane`` is which of the source's functions asks, ``answer`` the seconds that an answer may take.
    """
    if state.closed_since:
        return _trial(state, pace, now, lane, max(TRIAL, answer + TOLD))
    if now < state.held_until:
        return state, Wait(state.held_until, "rate")
    day = _today(state, pace, now)
    if isinstance(day, Wait):
        return _spent(state, pace, day), day
    rate = _rate(state, pace, now)
    interval = 1.0 / rate
    # What a pause saves up is time of our own rate: a slower one for a while saves up no more of it.
    start = max(state.tat, now - (pace.burst - 1) / pace.rate)
    if start >= day.ends:
        return state, Wait(day.following, "quota")
    ahead = min(HORIZON, within)
    room = now + ahead - start
    if room <= 0:
        return state, Wait(max(now, start - ahead) + min(interval, HORIZON), "rate")
    room = min(room, day.ends - start)
    count = int(max(1, min(want, day.left, room * rate)))
    taken = _taken(day, start, count, interval)
    return taken, Lease(now, start, interval, count, taken.leases, day=taken.quota_day)


def _rate(state: PaceState, pace: Politeness, now: float) -> float:
    """Requests a second: ours, or for a while the engine's where that is slower."""
    return min(pace.rate, state.slow_rate) if now < state.slow_until else pace.rate


def _today(state: PaceState, pace: Politeness, now: float) -> _Day | Wait:
    """What is left of the quota today; the wait for another day where nothing is."""
    if not pace.quota:
        return _Day(state)
    day = quota_day(pace.quota_resets, now)
    if now >= day.ends:
        return Wait(day.following, "quota")
    # Where another copy's clock, or an earlier file, has seen a later day begin, that one's count goes on.
    if day.begins > state.quota_day:
        state = msgspec.structs.replace(
            state, quota_day=day.begins, quota_used=0, returned=(), spent_until=0.0
        )
    left = pace.quota - state.quota_used
    return _Day(state, left, day.ends, day.following) if left > 0 else Wait(day.following, "quota")


def _spent(state: PaceState, pace: Politeness, wait: Wait) -> PaceState:
    """The state that says so where a quota is spent: who sees it need not ask for a lease."""
    if state.quota_used < pace.quota or state.spent_until >= wait.until:
        return state
    return msgspec.structs.replace(state, spent_until=wait.until)


def _taken(day: _Day, start: float, count: int, interval: float) -> PaceState:
    """The state after a lease of so many slots."""
    state = msgspec.structs.replace(
        day.state, tat=_after(start, count, interval), leases=day.state.leases + 1
    )
    if math.isinf(day.left):
        return msgspec.structs.replace(state, quota_day=0.0, quota_used=0, returned=(), spent_until=0.0)
    spent = day.following if count >= day.left else 0.0
    return msgspec.structs.replace(state, quota_used=state.quota_used + count, spent_until=spent)


def _after(start: float, count: int, interval: float) -> float:
    """The moment after so many slots, rounded up: rounded down, lease by lease, the rate would creep up."""
    return math.nextafter(start + count * interval, math.inf)


def _trial(
    state: PaceState, pace: Politeness, now: float, lane: str, lasts: float
) -> tuple[PaceState, Lease | Wait]:
    """One request decides whether a closed source is open again; nobody else asks while it ``lasts``.

    The lane that was refused makes it, and another one where that has not come for it.
    """
    reopens = max(state.closed_until, state.held_until)
    if now < reopens:
        return state, Wait(reopens, "closed")
    if now < state.trial_until:
        return state, Wait(state.trial_until, "trial")
    if state.lane and lane != state.lane and now < reopens + YIELDED:
        return state, Wait(reopens + YIELDED, "trial")
    day = _today(state, pace, now)
    if isinstance(day, Wait):
        return _spent(state, pace, day), day
    start = max(state.tat, now)
    if start > now + HORIZON:
        return state, Wait(start - HORIZON, "rate")
    if start >= day.ends:
        return state, Wait(day.following, "quota")
    interval = 1.0 / _rate(state, pace, now)
    tried = msgspec.structs.replace(_taken(day, start, 1, interval), trial_until=start + lasts)
    return tried, Lease(now, start, interval, 1, tried.leases, trial=True, day=tried.quota_day)


def give_back(state: PaceState, given: Lease, unused: int, missed: int = 0) -> PaceState:
    """Return what a lease did not use: its last ``unused`` slots, and ``missed`` ones that passed before.

    Slots return only while nobody leased after it; to the day's quota all of them do. Returning them twice
    returns them once: a store may repeat what it was not sure of.
    """
    state = _to_quota(state, given, unused + missed)
    if state.leases != given.number or state.closed_since or unused <= 0:
        return state
    used = max(0, given.count - unused)
    return msgspec.structs.replace(state, tat=min(state.tat, _after(given.start, used, given.interval)))


def _to_quota(state: PaceState, given: Lease, count: int) -> PaceState:
    """Requests that were never sent, taken out of the day's count."""
    oldest = state.leases - REMEMBERED
    known = oldest < given.number <= state.leases and given.number not in state.returned
    if not given.day or given.day != state.quota_day or not known or count <= 0:
        return state
    return msgspec.structs.replace(
        state,
        quota_used=max(0, state.quota_used - min(count, given.count)),
        returned=(*(number for number in state.returned if number > oldest), given.number),
        spent_until=0.0,
    )


def slow(state: PaceState, pace: Politeness, allowance: Allowance, sent_at: float, now: float) -> PaceState:
    """Heed what the headers of an answer allow, where that is stricter than what holds already.

    ``sent_at`` is when the request left: our next one is an interval later at least. A slower pace has an
    end, so that a header in passing slows nobody for ever. Gives the state as it is for all else.
    """
    rate, hold = allowance.rate, allowance.hold
    ours = _rate(state, pace, now)
    if rate is not None:
        lasts = max(SLOWED, 2.0 / rate)
        if rate < ours or (rate == state.slow_rate and state.slow_until - now < lasts / 2):
            state = msgspec.structs.replace(state, slow_rate=rate, slow_until=now + lasts)
            ours = rate
    if hold is not None:
        after = sent_at + (1.0 / ours if pace.burst == 1 else 0.0)
        if hold - ROUNDED > after and hold - ROUNDED > max(state.held_until, state.closed_until):
            state = msgspec.structs.replace(state, held_until=hold)
    return state


def refuse(
    state: PaceState, pace: Politeness, now: float, until: float | None, reason: str, lane: str = ""
) -> PaceState:
    """Close the source: until the moment the engine named, or for its rest, doubled for refusals in a row.

    An engine that refuses again although its moment was waited for knows it badly: then both hold.
    Refusals that were on their way when the first one came do not double the rest again, and leave the trial
    to the ``lane`` of the first.
    """
    in_a_row = state.refusals if now < state.closed_until else state.refusals + 1
    forgotten = now > max(state.closed_until, state.held_until) + FORGOTTEN
    rest = min(pace.max_rest, pace.rest * 2.0 ** min(max(in_a_row, 1) - 1, 64))
    shortest = SHORTEST_REST if in_a_row <= 1 else rest
    reopens = max(until, now + shortest) if until is not None else now + rest
    return msgspec.structs.replace(
        state,
        closed_until=max(state.closed_until, reopens),
        closed_since=state.closed_since if state.closed_since and not forgotten else now,
        refusals=in_a_row,
        reason=reason,
        trial_until=0.0,
        lane=state.lane if state.lane and in_a_row == state.refusals else lane,
    )


def closed_to(state: PaceState, held: Lease | None, now: float) -> bool:
    """Whether the state says that nothing may be asked: not with this lease, or at all before a rest is over.

    A closed source is closed until its trial was answered, whatever a clock says of its rest; only who holds
    the trial goes on. Who holds no lease hears the same when it asks for one.
    """
    if not state.closed_since or now < state.closed_until:
        return bool(state.closed_since)
    return held is not None and not (held.trial and state.trial_until and state.leases == held.number)


def untried(state: PaceState, given: Lease) -> PaceState:
    """A trial's lease decided nothing: the next who asks makes the trial, and the source stays closed."""
    if not given.trial or state.leases != given.number:
        return state
    return msgspec.structs.replace(state, trial_until=0.0)


def answered(state: PaceState) -> PaceState:
    """A trial was answered: the source is open again, unless it was refused once more meanwhile."""
    if not state.trial_until:
        return state
    return msgspec.structs.replace(
        state, closed_until=0.0, closed_since=0.0, refusals=0, reason="", trial_until=0.0, lane=""
    )
