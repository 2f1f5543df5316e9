"""An event loop on virtual time: it waits by sleeping on the timeline, and its threads are calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pipeline.simulate.timeline import Timeline

_RESOLUTION = 1e-6
"""Seconds: epoch seconds have a quarter of this as their own, and a timer due now must count as due."""


class _Selector:
    """Where a loop waits for its next timer; nothing else ever happens to it."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def select(self, timeout: float | None) -> list[Any]:
        """Wait so long in virtual time."""
        if timeout is None or timeout > 0:
            self._timeline.sleep(timeout if timeout is not None else float("inf"))
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs the coroutines of one actor."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline
        self._selector = _Selector(timeline)
        self._clock_resolution = _RESOLUTION
        # What was under way when a process was killed ends unheard.
        self.set_exception_handler(lambda *_: None)

    def time(self) -> float:
        """Virtual epoch seconds."""
        return self._timeline.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # noqa: ARG002
        """Call at once: a thread of its own would run whenever it likes."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        # A kill too has to come out where the call is awaited.
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)
        return future

    def _process_events(self, event_list: list[Any]) -> None:
        """No events come from outside."""

    def _write_to_self(self) -> None:
        """Nobody waits in a system call."""
