"""Work that Ctrl-C ends: DuckDB does not look for a signal while it reckons, so it reckons in a thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Event, Thread
from typing import TypeVar

_Made = TypeVar("_Made")

_AGAIN = 0.1
"""Seconds after which work that goes on is interrupted once more: it may not have begun the first time."""


def interruptible(work: Callable[[], _Made], interrupt: Callable[[], None]) -> _Made:
    """What the work gives or raises; on Ctrl-C, ``interrupt`` ends the work before that is passed on.

    A signal may come at any step here: work that has not begun by then never does.
    """
    made: Future[_Made] = Future()
    given_up = Event()

    def run() -> None:
        if given_up.is_set():
            return
        try:
            made.set_result(work())
        # It is raised where the result is awaited.
        except BaseException as error:  # noqa: BLE001
            made.set_exception(error)

    thread = Thread(target=run, name="query", daemon=True)
    try:
        thread.start()
        return made.result()
    except KeyboardInterrupt:
        given_up.set()
        while thread.is_alive() and not made.done():
            interrupt()
            wait([made], _AGAIN)
        raise
