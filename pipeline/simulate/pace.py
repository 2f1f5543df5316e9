"""The pace store as one life of a process has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import StorageUnavailable
from pipeline.simulate.faults import Faults, Life
from stages.pace import PaceState

_Answer = TypeVar("_Answer")


class SimulatedPaceStore:
    """States in a dictionary that all lives share."""

    def __init__(self, states: dict[str, PaceState], faults: Faults, life: Life) -> None:
        self._states = states
        self._faults = faults
        self._life = life

    def read(self, source: str) -> PaceState:
        """The state now."""
        self._faults.look(self._life, f"pace of {source}", StorageUnavailable)
        return self._states.get(source, PaceState())

    def change(self, source: str, how: Callable[[PaceState], tuple[PaceState, _Answer]]) -> _Answer:
        """Replace the state; ``how`` is asked again after a race that was lost."""

        def replace() -> _Answer:
            if self._faults.happens(self._faults.weather.conflict):
                how(self._states.get(source, PaceState()))
            self._states[source], answer = how(self._states.get(source, PaceState()))
            return answer

        return self._faults.effect(self._life, "pace", source, replace, StorageUnavailable)
