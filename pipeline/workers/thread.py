"""A stage's thread, and what ends it before its time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

Stopped = Callable[[], bool]


class StageThread(threading.Thread):
    """A stage's thread; what ends it before its time is kept for the one who waits for it."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        super().__init__(name=name)
        self._work = work
        self.error: Exception | None = None

    def run(self) -> None:
        """Work until stopped, or until something cannot be gone on with."""
        try:
            self._work()
        # Nothing is swallowed: it is raised in the thread that waits for all of them.
        except Exception as error:  # noqa: BLE001
            self.error = error


def raise_first_error(threads: Iterable[StageThread]) -> None:
    """Raise what ended a thread before its time, if anything did."""
    for thread in threads:
        if thread.error is not None:
            raise thread.error
