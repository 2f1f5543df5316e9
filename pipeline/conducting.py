"""Conducting: which lane of a source works, whether any does, and what leaves the backlog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from pipeline import keys
from pipeline.storage.protocol import Storage
from stages.pace import PaceState

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
    """The lane that works, and since when (seconds since the epoch)."""

    lane: int = 0
    since: float = 0.0


class Conducted(msgspec.Struct, frozen=True):
    """How a source's lanes stand after a look: the lane whose turn it is, and whether it may work."""

    lane: int
    working: bool
    switched: int


_decoder = msgspec.json.Decoder(Turn)


def next_turn(turn: Turn | None, lanes: int, state: PaceState, now: float, seconds: float) -> Turn:
    """Whose turn it is. While a source is closed nobody takes over: who was refused makes the trial."""
    if turn is None or not 0 <= turn.lane < lanes:
        return Turn(0, now)
    if state.closed_since or lanes == 1 or now - turn.since < seconds:
        return turn
    return Turn((turn.lane + 1) % lanes, now)


LISTENS_AGAIN = 3 * 86_400.0
"""Seconds: of a source closed for so long the messages are taken again, before a queue forgets them."""


def may_work(state: PaceState, now: float) -> bool:
    """Whether the lane whose turn it is should take messages at all.

    Fetch ends the tasks of a source that stays closed for longer than tasks wait; an expired message would
    end nothing. A quota is waited for without an end, a day at a time: no message is as old as that.
    """
    idle_until = max(state.spent_until, state.held_until)
    if state.closed_since and now - state.closed_since <= LISTENS_AGAIN:
        idle_until = max(idle_until, state.closed_until)
    return idle_until <= now + CLOSED_LONG


def shut(state: PaceState, now: float) -> float:
    """How a source is told as a metric: 1 while it is closed, 0.5 while a quota or a window is spent.

    An alarm for refusals begins at 1, one for tasks that nobody asks for excuses all above 0.
    """
    if state.closed_since:
        return 1.0
    return 0.5 if max(state.spent_until, state.held_until) > now else 0.0


def conduct(
    storage: Storage,
    mappings: Mappings,
    source: str,
    lanes: Sequence[str],
    state: PaceState,
    *,
    now: float,
    lane_seconds: float,
) -> Conducted:
    """Bring a source's mappings to where they should be; ``lanes`` are the mappings in order."""
    key = keys.conduct(source)
    raw = storage.find(key)
    before = _read(raw) if raw is not None else None
    turn = next_turn(before, len(lanes), state, now, lane_seconds)
    if turn != before:
        storage.put(key, msgspec.json.encode(turn))
    working = may_work(state, now)
    switched = 0
    # Who should rest ceases first: two at once would be no harm to the engine, but two addresses.
    for lane, mapping in sorted(enumerate(lanes), key=lambda numbered: numbered[0] == turn.lane):
        wanted = working and lane == turn.lane
        works = mappings.works(mapping)
        if works is not None and works != wanted:
            mappings.switch(mapping, on=wanted)
            switched += 1
    return Conducted(turn.lane, working, switched)


def _read(raw: bytes) -> Turn | None:
    """The record; none where it is damaged, which costs one lane its turn."""
    try:
        return _decoder.decode(raw)
    except msgspec.DecodeError:
        return None
