"""Metrics: what happened, counted under the words of the design."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Protocol


class Metrics(Protocol):
    """Counts and measurements by name.

    Shard: ``bytes_read``, ``lines``, ``duplicates``, ``rejects``, ``tasks``. Fetch: ``pages_ok``,
    ``pages_refused``, ``pages_failed``, ``pages_unreadable`` (of those), ``pages_found`` (staged by an
    earlier delivery), ``refusals`` (requests that the engine refused), ``latency_ms``. Aggregate:
    ``pages_committed`` (or found in the table) by source, ``results_committed``.
    """

    def add(self, name: str, value: float = 1) -> None:
        """Count ``value`` more of this."""

    def observe(self, name: str, value: float) -> None:
        """One more measurement of this, in the unit that its name ends with."""

    def of(self, source: str) -> Metrics:
        """The metrics of one source, where a stage works for several."""


class MemoryMetrics:
    """Counts in this process; safe for threads."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, name: str, value: float = 1) -> None:
        """Count ``value`` more of this."""
        with self._lock:
            self._counts[name] += int(value)

    def observe(self, name: str, value: float) -> None:
        """Measurements are of use where somebody draws them; here nobody does."""

    def of(self, source: str) -> MemoryMetrics:  # noqa: ARG002
        """Sources are told apart where somebody draws them."""
        return self

    def __getitem__(self, name: str) -> int:
        return self._counts[name]
