"""The trace: what happened, in order, and a hash of it by which two simulations are known to be the same."""

from __future__ import annotations

from collections import Counter, deque
from hashlib import blake2b

KEPT = 400
"""Events at the end of a trace that are kept to be shown."""


class Trace:
    """Takes events one by one."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)
        self._last: deque[str] = deque(maxlen=KEPT)
        self.counts: Counter[str] = Counter()
        """How often each thing happened, by its word."""
        self.length = 0

    def add(self, at: float, who: str, what: str, about: str = "") -> None:
        """One event: seconds since the beginning, the actor, what it did, and to what."""
        line = f"{at:.6f} {who} {what} {about}"
        self._hash.update(line.encode())
        self._last.append(line)
        self.counts[what] += 1
        self.length += 1

    @property
    def hash(self) -> str:
        """Of everything that happened so far."""
        return self._hash.hexdigest()

    def last(self, number: int) -> list[str]:
        """The last events, oldest first."""
        return list(self._last)[-number:]
