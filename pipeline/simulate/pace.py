"""The pace store as one life of a process has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import StorageUnavailable
from pipeline.simulate.faults import Faults, Life
from stages.pace import PaceState
from stages.records import Closing

_Answer = TypeVar("_Answer")


class Paces:
    """What all lives share: the state of each source, and every closing and reopening that was in one."""

    def __init__(self) -> None:
        self.states: dict[str, PaceState] = {}
        self.happened: dict[str, Closing] = {}
        """By id."""
        self.merged: set[str] = set()
        """What a state that held too much untold says no more, since a later closing says it as well."""

    def state(self, source: str) -> PaceState:
        """The state now."""
        return self.states.setdefault(source, PaceState())

    def store(self, source: str, state: PaceState) -> None:
        """Replace the state."""
        new = {event.id for event in state.untold}
        gone = {event.id for event in self.state(source).untold} - new
        if gone and not new <= self.happened.keys():
            self.merged |= gone
        self.states[source] = state
        self.happened.update((event.id, event) for event in state.untold)


class SimulatedPaceStore:
    """The states, in one life."""

    def __init__(self, paces: Paces, faults: Faults, life: Life) -> None:
        self._paces = paces
        self._faults = faults
        self._life = life

    def read(self, source: str) -> PaceState:
        """The state now."""
        self._faults.look(self._life, f"pace of {source}", StorageUnavailable)
        return self._paces.state(source)

    def change(self, source: str, how: Callable[[PaceState], tuple[PaceState, _Answer]]) -> _Answer:
        """Replace the state; ``how`` is asked again after a race that was lost."""

        def replace() -> _Answer:
            if self._faults.happens(self._faults.weather.conflict):
                how(self._paces.state(source))
            after, answer = how(self._paces.state(source))
            self._paces.store(source, after)
            return answer

        def sent() -> Callable[[], object]:
            seen = self._paces.state(source)
            after, _ = how(seen)

            def land() -> None:
                if self._paces.state(source) is not seen:
                    raise StorageUnavailable("simulated: the state was changed by another")
                self._paces.store(source, after)

            return land

        return self._faults.effect(self._life, "pace", source, replace, StorageUnavailable, sent=sent)
