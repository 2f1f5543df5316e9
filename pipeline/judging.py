"""Judging answers beside the wire: a small one at once, a big one in a thread, for so long and no longer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from stages.body import unpacked
from stages.extract import Extractor
from stages.fetch import Done, Judgement, Retry, judge_response
from stages.records import Response, Task
from stages.source import Source

SMALL = 256_000
"""Bytes of a body, inflated, that are read at once: a thread costs as much as a small page."""

PATIENCE = 10.0
"""Seconds that an answer may take to be read: a hundred times what a page of 5 MB takes."""


class Judge:
    """Judges the answers of one batch, of the big ones one at a time: a tree is many times its page."""

    def __init__(
        self,
        source: Source,
        extractor: Extractor,
        clock: Callable[[], float],
        log: Any,
        patience: float = PATIENCE,
    ) -> None:
        """``patience`` is the seconds that a big answer may take to be read."""
        self._patience = patience
        self._source = source
        self._extractor = extractor
        self._clock = clock
        self._log = log
        self._reading = asyncio.Lock()

    async def __call__(self, task: Task, response: Response) -> Judgement:
        """What an answer means. One that shows a defect of ours costs its own task an attempt, no other's."""
        response = unpacked(response, self._source.spec.limits.bytes)
        try:
            if len(response.body) <= SMALL:
                return self._judge(task, response)
            async with self._reading:
                return await _beside(lambda: self._judge(task, response), self._patience)
        except TimeoutError:
            self._log.error(
                "an answer took too long to be read", keyword=task.keyword, bytes=len(response.body)
            )
            return Done("failed", "unreadable", len(response.body))
        # What it shows is told in the log, with where it was.
        except Exception:  # noqa: BLE001
            self._log.exception("an answer could not be judged", keyword=task.keyword)
            return Retry("defect")

    def _judge(self, task: Task, response: Response) -> Judgement:
        return judge_response(task, self._source, self._extractor, response, self._clock())


async def _beside(work: Callable[[], Judgement], patience: float) -> Judgement:
    """What a thread of its own makes of it. Raises ``TimeoutError`` where that takes too long.

    Nobody waits for such a thread any more, not even the process when it ends.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Judgement] = loop.create_future()

    def settle(judged: Judgement | None, error: Exception | None) -> None:
        if done.done():
            return
        if judged is not None:
            done.set_result(judged)
        elif error is not None:
            done.set_exception(error)

    def judge() -> None:
        judged, error = None, None
        try:
            judged = work()
        # It is raised where the answer is awaited.
        except Exception as raised:  # noqa: BLE001
            error = raised
        # The loop may be gone by now.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, judged, error)

    threading.Thread(target=judge, name="judge", daemon=True).start()
    async with asyncio.timeout(patience):
        return await done
