"""Virtual time: many actors, one of them running at a time, and a clock that jumps to who is next.

Each actor is a thread, so that real code runs in it unchanged; it gives way only where it sleeps here. Who is
next is decided by the clock and, between equals, by the seed.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections.abc import Callable
from random import Random

START = 1_800_000_000.0
"""Epoch seconds: the morning of a day on which every simulation begins, or shortly before midnight."""

MIDNIGHT = 57_600.0
"""Seconds from then until the next day."""


class Over(BaseException):
    """The simulation has ended; no ``except Exception`` of the code under test may catch that."""


class Actor:
    """One thread of the simulation; it runs only while it is its turn."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wake = math.inf
        """When it is to run again; infinity while it waits to be woken."""
        self.entry = 0
        """The number of its entry in the order of turns; older entries do not count."""
        self.turn = threading.Lock()
        self.turn.acquire()


class Timeline:
    """The clock, and who runs. Called as a clock it gives epoch seconds."""

    def __init__(self, random: Random) -> None:
        self.now = START + (random.random() < 0.25) * (MIDNIGHT - 120.0)
        self.current = Actor("director")
        self.failure: BaseException | None = None
        """What ended an actor before its time."""
        self._director = self.current
        self._random = random
        self._turns: list[tuple[float, float, int, Actor]] = []
        self._numbers = itertools.count(1)
        self._actors: list[Actor] = []
        self._over = False

    def __call__(self) -> float:
        """Now, in epoch seconds."""
        return self.now

    def spawn(self, name: str, work: Callable[[], None]) -> Actor:
        """A new actor, which begins at its first turn."""
        actor = Actor(name)
        self._actors.append(actor)
        self.wake(actor, self.now)
        threading.Thread(target=self._live, args=(actor, work), name=name, daemon=True).start()
        return actor

    def sleep(self, seconds: float) -> None:
        """Let time pass for who is running; infinity waits to be woken. Others run meanwhile."""
        me = self.current
        self.wake(me, self.now + max(0.0, seconds))
        successor = self._next()
        if successor is not me:
            successor.turn.release()
            me.turn.acquire()
        if self._over and me is not self._director:
            raise Over
        if self.failure is not None and me is self._director and not self._over:
            raise self.failure

    def wake(self, actor: Actor, at: float) -> None:
        """Have an actor run at a moment, whatever it waited for."""
        actor.wake = at
        actor.entry = next(self._numbers)
        if at < math.inf:
            heapq.heappush(self._turns, (at, self._random.random(), actor.entry, actor))

    def close(self) -> None:
        """End every actor where it stands. The director's last call."""
        self._over = True
        while self._actors:
            for actor in self._actors:
                self.wake(actor, self.now)
            self.sleep(0.001)

    def _next(self) -> Actor:
        while True:
            at, _, entry, actor = heapq.heappop(self._turns)
            if entry == actor.entry:
                self.now = max(self.now, at)
                actor.wake = math.inf
                self.current = actor
                return actor

    def _live(self, actor: Actor, work: Callable[[], None]) -> None:
        actor.turn.acquire()
        try:
            if not self._over:
                work()
        except Over:
            pass
        # Nothing is swallowed: the director raises it at its next turn, which is now.
        except BaseException as error:  # noqa: BLE001
            if self.failure is None:
                self.failure = error
            self.wake(self._director, self.now)
        self._actors.remove(actor)
        self._next().turn.release()
