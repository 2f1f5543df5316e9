"""The pacer: leases, refusals and reopenings of sources, on whatever store keeps their state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from stages import pace
from stages.pace import Lease, PaceState, Wait
from stages.source import Politeness

_Answer = TypeVar("_Answer")


class PaceStore(Protocol):
    """Keeps one ``PaceState`` a source; a change happens wholly or not at all, one after another.

    Raises ``StorageUnavailable`` where the store does not answer.
    """

    def read(self, source: str) -> PaceState:
        """The state now; a source that was never changed is open and unused."""

    def change(self, source: str, how: Callable[[PaceState], tuple[PaceState, _Answer]]) -> _Answer:
        """Replace the state by what ``how`` makes of it; ``how`` may be called again after a lost race."""


class Pacer:
    """Permission to ask, for every copy that shares the store. Times are the clock's, epoch seconds."""

    def __init__(self, store: PaceStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def lease(self, source: str, terms: Politeness, want: int, within: float = pace.HORIZON) -> Lease | Wait:
        """Permission for up to ``want`` requests ``within`` so many seconds, or the moment to ask again."""
        return self._store.change(source, lambda state: pace.lease(state, terms, self._clock(), want, within))

    def give_back(self, source: str, given: Lease, unused: int) -> None:
        """Return the unused end of a lease, for the next who asks."""
        if unused > 0:
            self._store.change(source, lambda state: (pace.give_back(state, given, unused), None))

    def refuse(self, source: str, terms: Politeness, until: float | None, reason: str) -> PaceState:
        """Close the source for everyone; gives the state it is in now."""

        def close(state: PaceState) -> tuple[PaceState, PaceState]:
            closed = pace.refuse(state, terms, self._clock(), until, reason)
            return closed, closed

        return self._store.change(source, close)

    def answered(self, source: str) -> None:
        """A trial request was answered: open the source again."""
        self._store.change(source, lambda state: (pace.answered(state), None))

    def state(self, source: str) -> PaceState:
        """The source's state now."""
        return self._store.read(source)
