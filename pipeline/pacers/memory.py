"""Pace states in this process: for tests and simulations."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from stages.pace import PaceState

_Answer = TypeVar("_Answer")


class MemoryPaceStore:
    """States in a dictionary; safe for threads."""

    def __init__(self) -> None:
        self._states: dict[str, PaceState] = {}
        self._lock = threading.Lock()

    def read(self, source: str) -> PaceState:
        """The state now."""
        return self._states.get(source, PaceState())

    def change(self, source: str, how: Callable[[PaceState], tuple[PaceState, _Answer]]) -> _Answer:
        """Replace the state by what ``how`` makes of it."""
        with self._lock:
            self._states[source], answer = how(self.read(source))
            return answer
