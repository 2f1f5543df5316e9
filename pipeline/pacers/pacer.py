"""The pacer: leases, refusals and reopenings of sources, on whatever store keeps their state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from stages import closings, pace
from stages.pace import Lease, PaceState, Wait
from stages.rate_headers import Allowance
from stages.records import Closing
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

    def __init__(
        self, store: PaceStore, clock: Callable[[], float], *, run_id: str = "", lane: str = ""
    ) -> None:
        """``run_id`` and ``lane`` say for whom it asks, in what is told of closings."""
        self._store = store
        self._clock = clock
        self._run_id = run_id
        self._lane = lane
        self._met: set[str] = set()
        """Sources of which a change here met something that nobody told yet."""

    def asking_for(self, run_id: str, lane: str) -> Pacer:
        """The same pacer, on behalf of a run and a lane."""
        pacer = Pacer(self._store, self._clock, run_id=run_id, lane=lane)
        pacer._met = self._met  # what any of them meets, each may tell
        return pacer

    def lease(
        self,
        source: str,
        terms: Politeness,
        want: int,
        within: float = pace.HORIZON,
        *,
        answer: float = 0.0,
    ) -> Lease | Wait:
        """Permission for up to ``want`` requests ``within`` so many seconds, or the moment to ask again.

        ``answer`` is how long an answer may take, which a trial is waited for.
        """

        def ask(state: PaceState) -> tuple[PaceState, Lease | Wait]:
            return pace.lease(state, terms, self._clock(), want, within, lane=self._lane, answer=answer)

        return self._change(source, ask)

    def give_back(self, source: str, given: Lease, unused: int, missed: int = 0) -> None:
        """Return the unused end of a lease for the next who asks; to a quota also the slots it missed."""
        if unused > 0 or (given.day and missed > 0):
            self._change(source, lambda state: (pace.give_back(state, given, unused, missed), None))

    def slow(self, source: str, terms: Politeness, allowance: Allowance, sent_at: float) -> PaceState:
        """Heed what an answer's headers allow, for everyone; what is not stricter than before stores nothing.

        Gives the state it is in now. ``sent_at`` is when the request that was answered left.
        """

        def heed(state: PaceState) -> tuple[PaceState, PaceState]:
            slowed = pace.slow(state, terms, allowance, sent_at, self._clock())
            return slowed, slowed

        return self._change(source, heed)

    def refuse(self, source: str, terms: Politeness, until: float | None, reason: str) -> PaceState:
        """Close the source for everyone; gives the state it is in now."""

        def close(state: PaceState) -> tuple[PaceState, PaceState]:
            closed = pace.refuse(state, terms, self._clock(), until, reason, self._lane)
            return closed, closed

        return self._change(source, close)

    def untried(self, source: str, given: Lease) -> None:
        """A trial's lease was used for something that decides nothing, or for nothing: the next makes it."""
        self._change(source, lambda state: (pace.untried(state, given), None))

    def answered(self, source: str) -> None:
        """A trial request was answered: open the source again."""
        self._change(source, lambda state: (pace.answered(state), None))

    def state(self, source: str) -> PaceState:
        """The source's state now."""
        return self._store.read(source)

    def untold(self, source: str) -> tuple[Closing, ...]:
        """What happened to the source and nobody told yet, if a change here met any; asks only then."""
        if source not in self._met:
            return ()
        # Forgotten first: what is met from now on is told the next time.
        self._met.discard(source)
        return self._store.read(source).untold

    def told(self, source: str, events: Sequence[Closing]) -> int:
        """These were told: forget them. Gives how many before them nobody can tell any more."""
        ids = frozenset(event.id for event in events)
        return self._store.change(source, lambda state: (closings.told(state, ids), state.forgotten))

    def _change(self, source: str, how: Callable[[PaceState], tuple[PaceState, _Answer]]) -> _Answer:
        """A change of the store's, with what it does to the source noted in the same write."""

        def noting(state: PaceState) -> tuple[PaceState, tuple[_Answer, bool]]:
            after, answer = how(state)
            after = closings.noted(state, after, source, self._clock(), run_id=self._run_id, lane=self._lane)
            return after, (answer, bool(after.untold))

        answer, untold = self._store.change(source, noting)
        if untold:
            self._met.add(source)
        return answer
