"""Work that Ctrl-C ends: DuckDB does not look for a signal while it reckons, so it reckons in a thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

_Made = TypeVar("_Made")

_AGAIN = 0.1
"""Seconds after which work that goes on is interrupted once more: it may not have begun the first time."""


def interruptible(work: Callable[[], _Made], interrupt: Callable[[], None]) -> _Made:
    """What the work gives or raises; on Ctrl-C, ``interrupt`` ends the work before that is passed on."""
    with ThreadPoolExecutor(1, "query") as thread:
        running = thread.submit(work)
        try:
            return running.result()
        except KeyboardInterrupt:
            while not running.done():
                interrupt()
                wait([running], _AGAIN)
            raise
