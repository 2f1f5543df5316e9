"""What the operator said of a run while it runs: paused, cancelled, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from pipeline import keys
from pipeline.errors import Unreadable
from pipeline.storage.protocol import Storage

Said = Literal["", "paused", "cancelled"]

REMEMBERED = 5.0
"""Seconds that a process goes by what it read: a batch more or less is asked meanwhile."""


class Control(msgspec.Struct, frozen=True):
    """The record of what was said, and when (seconds since the epoch)."""

    said: Said
    at: float


_decoder = msgspec.json.Decoder(Control)


def say(storage: Storage, run_id: str, said: Said, now: float) -> None:
    """Pause or cancel a run, or take a pause back by saying nothing."""
    storage.put(keys.control(run_id), msgspec.json.encode(Control(said, now)))


def said_of(storage: Storage, run_id: str) -> Said:
    """What was said of a run last. Raises ``Unreadable`` for a damaged record."""
    raw = storage.find(keys.control(run_id))
    if raw is None:
        return ""
    try:
        return _decoder.decode(raw).said
    except msgspec.DecodeError as error:
        key = keys.control(run_id)
        raise Unreadable(f"{key} is damaged: pause, resume or cancel the run again", key=key) from error


class RunControls:
    """What was said of runs, read again when what is remembered is too old."""

    def __init__(self, storage: Storage, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._clock = clock
        self._read: dict[str, tuple[float, Said]] = {}

    def said(self, run_id: str) -> Said:
        """What was said of a run, as of ``REMEMBERED`` seconds ago at most."""
        now = self._clock()
        at, said = self._read.get(run_id, (-REMEMBERED, ""))
        if now - at >= REMEMBERED:
            said = said_of(self._storage, run_id)
            self._read = {run_id: (now, said)}
        return said
