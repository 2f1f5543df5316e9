"""Closings: what of a change of a source's state everybody should hear of, kept in the state until told.

Who makes an open source closed is exactly one copy of the fleet: the one whose change was stored. What
happened is stored with that same change, so that no death between the change and the telling loses it.
"""

from __future__ import annotations

import msgspec

from stages.pace import PaceState
from stages.records import Closing, digest

LONGER = 1.0
"""Seconds by which a rest must grow to be told: refusals that were on their way move it by less."""

MOST_UNTOLD = 40
"""What one state keeps untold: telling was impossible for long then, and what says least goes."""


def noted(
    before: PaceState, after: PaceState, source: str, now: float, *, run_id: str = "", lane: str = ""
) -> PaceState:
    """The state after a change, with what happened to the source by it among what is to be told."""
    event = _closed(before, after, source, now) or _reopened(before, after, source, now)
    if event is None:
        return after
    event = msgspec.structs.replace(event, run_id=run_id, lane=lane)
    untold = (*after.untold, event)
    if len(untold) <= MOST_UNTOLD:
        return msgspec.structs.replace(after, untold=untold)
    at = _merged(untold)
    left = (*untold[: at or 0], *untold[(at or 0) + 1 :])
    return msgspec.structs.replace(after, untold=left, forgotten=after.forgotten + (at is None))


def told(state: PaceState, ids: frozenset[str]) -> PaceState:
    """The state without what was told; what it forgot was told with it."""
    left = tuple(event for event in state.untold if event.id not in ids)
    return (
        msgspec.structs.replace(state, untold=left, forgotten=0) if len(left) < len(state.untold) else state
    )


def _merged(events: tuple[Closing, ...]) -> int | None:
    """Which of several closings of one closure the next one says as well; its first and its last stay.

    None where every event is the first or the last of its closure.
    """
    for at in range(1, len(events) - 1):
        before, event, following = events[at - 1 : at + 2]
        same = before.closed_since == event.closed_since == following.closed_since
        if same and {before.event, event.event, following.event} == {"closed"}:
            return at
    return None


def _closed(before: PaceState, after: PaceState, source: str, now: float) -> Closing | None:
    """A closing: of an open source, after one more refusal in a row, or until later than was known."""
    same = before.closed_since == after.closed_since and before.refusals >= after.refusals
    if not after.closed_since or (same and after.closed_until - before.closed_until < LONGER):
        return None
    return Closing(
        id=digest(source, "closed", repr(now), repr(after.closed_since), repr(after.closed_until)),
        source=source,
        event="closed",
        happened_at=now,
        closed_since=after.closed_since,
        closed_until=after.closed_until,
        reason=after.reason,
        refusals=after.refusals,
    )


def _reopened(before: PaceState, after: PaceState, source: str, now: float) -> Closing | None:
    if not before.closed_since or after.closed_since:
        return None
    return Closing(
        id=digest(source, "reopened", repr(before.closed_since)),
        source=source,
        event="reopened",
        happened_at=now,
        closed_since=before.closed_since,
        reason=before.reason,
        refusals=before.refusals,
    )
