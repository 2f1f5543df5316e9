"""Conducting: which lane of a source works, whether any does, and what leaves the backlog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from pipeline import keys
from pipeline.storage.protocol import Storage
from stages.pace import PaceState
from stages.source import Politeness

CLOSED_LONG = 120.0
"""Seconds: a source closed for longer, or without quota, or without anything left by its own headers, is not
even listened to. Batches that came would only be sent again.
"""


class Mappings(Protocol):
    """What hands a queue's messages to functions."""

    def works(self, mapping: str) -> bool | None:
        """Whether it hands messages over; None while it is being changed."""

    def switch(self, mapping: str, *, on: bool) -> None:
        """Have it begin or cease."""


class Turn(msgspec.Struct, frozen=True):
    """The lane that works, and since when (seconds since the epoch).

    ``ceased`` is when each of the others was last seen to take messages; of one that is missing there, all
    that is known is that it took none since this turn began.
    """

    lane: int = 0
    since: float = 0.0
    ceased: dict[int, float] = {}


class Conducted(msgspec.Struct, frozen=True):
    """How a source's lanes stand after a look: the lane whose turn it is, and whether it may work."""

    lane: int
    working: bool
    switched: int


_decoder = msgspec.json.Decoder(Turn)


def next_turn(
    turn: Turn | None, lanes: int, state: PaceState, now: float, seconds: float, rest: float = 0.0
) -> Turn:
    """Whose turn it is, where each works for so many ``seconds`` and rests for ``rest`` at least.

    While a source is closed it is the turn of who was refused, who makes the trial. The working lane works
    on for as long as the next one has not rested enough.
    """
    if turn is None or not 0 <= turn.lane < lanes:
        return Turn(0, now)
    if state.closed_since:
        refused = int(state.lane) if state.lane.isdecimal() else turn.lane
        return _taken(turn, refused, now) if refused != turn.lane and refused < lanes else turn
    following = (turn.lane + 1) % lanes
    rested = now - turn.ceased.get(following, turn.since)
    if lanes == 1 or now - turn.since < seconds or rested < rest:
        return turn
    return _taken(turn, following, now)


def _taken(turn: Turn, lane: int, now: float) -> Turn:
    """The turn of a lane that takes over now."""
    ceased = {other: at for other, at in turn.ceased.items() if other != lane}
    return Turn(lane, now, ceased | {turn.lane: now})


LISTENS_AGAIN = 3 * 86_400.0
"""Seconds: of a source closed for so long the messages are taken again, before a queue forgets them."""


def may_work(state: PaceState, now: float, terms: Politeness | None = None) -> bool:
    """Whether the lane whose turn it is should take messages at all; ``terms`` are the source's, if known.

    Fetch ends the tasks of a source that stays closed for longer than tasks wait; a message that nobody
    takes, or that expired, would end nothing. A quota is waited for without an end, a day at a time: no
    message is as old as that. One that was raised since it was spent is there to be used.
    """
    idle_until = state.held_until
    if terms is None or (terms.quota and state.quota_used >= terms.quota):
        idle_until = max(idle_until, state.spent_until)
    waits = LISTENS_AGAIN if terms is None else min(terms.max_closed, LISTENS_AGAIN)
    if state.closed_since and now - state.closed_since <= waits:
        idle_until = max(idle_until, state.closed_until)
    return idle_until <= now + CLOSED_LONG


def shut(state: PaceState, now: float) -> float:
    """How a source is told as a metric: 1 while it is closed, 0.5 while a quota or a window is spent.

    An alarm for refusals begins at 1, one for tasks that nobody asks for excuses all above 0.
    """
    if state.closed_since:
        return 1.0
    return 0.5 if max(state.spent_until, state.held_until) > now else 0.0


def conduct(  # noqa: PLR0913  # what a look sees, and by what it goes
    storage: Storage,
    mappings: Mappings,
    source: str,
    lanes: Sequence[str],
    state: PaceState,
    *,
    now: float,
    lane_seconds: float,
    rest_seconds: float = 0.0,
    terms: Politeness | None = None,
) -> Conducted:
    """Bring a source's mappings to where they should be; ``lanes`` are the mappings in order.

    A lane works for ``lane_seconds`` and rests for ``rest_seconds`` at least, from when its mapping was last
    seen to work: that holds the time for which a function may ask that began just then. ``terms`` are the
    source's where they are known.
    """
    key = keys.conduct(source)
    raw = storage.find(key)
    before = _read(raw) if raw is not None else None
    turn = next_turn(before, len(lanes), state, now, lane_seconds, rest_seconds)
    if turn != before:
        storage.put(key, msgspec.json.encode(turn))
    working = may_work(state, now, terms)
    switched = 0
    at_work: dict[int, float] = {}
    # Who should rest ceases first: two at once would be no harm to the engine, but two addresses.
    for lane, mapping in sorted(enumerate(lanes), key=lambda numbered: numbered[0] == turn.lane):
        wanted = working and lane == turn.lane
        works = mappings.works(mapping)
        if works is not False and lane != turn.lane:
            at_work[lane] = now
        if works is not None and works != wanted:
            mappings.switch(mapping, on=wanted)
            switched += 1
    if at_work.items() - turn.ceased.items():
        # Its rest begins when it is seen to cease, not when it was told to.
        turn = msgspec.structs.replace(turn, ceased=turn.ceased | at_work)
        storage.put(key, msgspec.json.encode(turn))
    return Conducted(turn.lane, working, switched)


def _read(raw: bytes) -> Turn | None:
    """The record; none where it is damaged, which costs one lane its turn."""
    try:
        return _decoder.decode(raw)
    except msgspec.DecodeError:
        return None
