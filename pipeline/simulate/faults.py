"""Faults: what may go wrong at a side effect, and the lives of processes that it ends."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

from pipeline.errors import PipelineError
from pipeline.simulate.timeline import START, Timeline
from pipeline.simulate.trace import Trace
from pipeline.simulate.weather import Weather

_Answer = TypeVar("_Answer")

HURRY = 0.02
"""Seconds that an effect takes at most: long enough for another process to come in between."""

SLOW = 10.0
"""Seconds that a slow one takes at most."""

LANDING = 5.0
"""Seconds after which lands what was given up already, at most."""


class Killed(BaseException):
    """The process is gone; no ``except Exception`` may catch that."""


class Violation(BaseException):
    """An invariant does not hold; the text says which and where. It passes through whatever it meets."""


class Life:
    """One life of a process: from its start until it ends or is killed."""

    def __init__(self, name: str, clock: Callable[[], float] = lambda: START) -> None:
        """``clock`` is the process's own, which may be wrong by a little."""
        self.name = name
        self.clock = clock
        self.dead = False


class Faults:
    """Decides at every effect whether it happens, whether its answer arrives and who lives on."""

    def __init__(self, timeline: Timeline, random: Random, trace: Trace) -> None:
        self.weather = Weather()
        self.timeline = timeline
        self.random = random
        self.most = 1_000_000
        """Events of a story; more are an endless one."""
        self._trace = trace

    def live(self, name: str) -> Life:
        """A new life, by a clock of its own."""
        skew = (self.random.random() - 0.5) * self.weather.skew
        return Life(name, lambda: self.timeline.now + skew)

    def note(self, who: str, what: str, about: str = "") -> None:
        """Something happened. Raises ``Violation`` where too much does: something goes round for ever."""
        if self._trace.length > self.most:
            raise Violation(f"no end after {self._trace.length:,} events: something goes round for ever")
        self._trace.add(self.timeline.now - START, who, what, about)

    def effect(
        self,
        life: Life,
        what: str,
        about: str,
        do: Callable[[], _Answer],
        unavailable: Callable[[str], PipelineError],
        *,
        takes: float = HURRY,
        sent: Callable[[], Callable[[], object]] | None = None,
    ) -> _Answer:
        """Do something that others can see, or not, and tell the truth about it, or nothing.

        It ``takes`` so many seconds at most before it happens, and others work meanwhile. ``sent`` gives what
        is on its way where it happens only after it was given up; without it, the same as in time.
        """
        self.alive(life)
        weather, random = self.weather, self.random
        if weather.slow and random.random() < weather.slow:
            takes = SLOW
        self.timeline.sleep(random.random() * takes)
        self.alive(life)
        fate = random.random()
        if fate < weather.kill:
            self.kill(life, f"before {what}", about)
        fate -= weather.kill
        if 0 <= fate < weather.throttle:
            self.note(life.name, f"throttled {what}", about)
            raise unavailable(f"simulated: {what} {about} was throttled")
        fate -= weather.throttle
        if 0 <= fate < weather.belated:
            self._land_late(life, what, about, sent() if sent is not None else do)
            raise unavailable(f"simulated: {what} {about} timed out")
        answer = do()
        self.note(life.name, what, about)
        fate = random.random()
        if fate < weather.kill:
            self.kill(life, f"after {what}", about)
        fate -= weather.kill
        if 0 <= fate < weather.lost_reply:
            self.note(life.name, f"lost reply of {what}", about)
            raise unavailable(f"simulated: the reply of {what} {about} was lost")
        return answer

    def look(self, life: Life, about: str, unavailable: Callable[[str], PipelineError]) -> None:
        """A read is about to happen, which may be refused."""
        self.alive(life)
        if self.weather.throttle and self.random.random() < self.weather.throttle / 2:
            self.note(life.name, "throttled look", about)
            raise unavailable(f"simulated: a look at {about} was throttled")

    def _land_late(self, life: Life, what: str, about: str, land: Callable[[], object]) -> None:
        """Who did it was told that it failed, and goes on; it happens all the same, a little later."""
        # Half of them land while the next attempt is on its way.
        after = self.random.random() * self.random.choice((1.0, LANDING))
        self.note(life.name, f"timed out {what}", about)

        def arrive() -> None:
            self.timeline.sleep(after)
            try:
                land()
            except PipelineError:
                # Too late: what it stood on is not the newest any more.
                self.note(life.name, f"void {what}", about)
            else:
                self.note(life.name, f"late {what}", about)

        self.timeline.spawn(f"late {what}", arrive)

    def happens(self, chance: float) -> bool:
        """Whether something of this chance happens now."""
        return chance > 0 and self.random.random() < chance

    def kill(self, life: Life, when: str, about: str) -> None:
        """End a life here."""
        life.dead = True
        self.note(life.name, f"killed {when}", about)
        raise Killed

    def alive(self, life: Life) -> None:
        """What a dead process still tries does not happen."""
        if life.dead:
            raise Killed
