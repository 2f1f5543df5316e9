"""Outcomes: what becomes of each task of a batch, its page or what is left of it for later."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from stages.fetch import Done, Judgement, Retry, counted, page_of
from stages.records import Page, Request, Response, Task
from stages.source import Limits

BACKOFF = 2.0
"""Seconds before a failed request is tried again, doubled for each earlier failure."""


class Ask(msgspec.Struct):
    """One task on its way: the request to send next, and how many were sent for it here."""

    task: Task
    request: Request
    sent: int = 0
    redirects: int = 0
    first_sent_at: float = 0.0


class Outcomes:
    """The pages of a batch so far, and the tasks that it leaves undone."""

    def __init__(self, limits: Limits, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._jitter = jitter
        self.pages: list[Page] = []
        self.left: list[Task] = []
        self.resume_at = 0.0
        """When what failed may be tried again."""

    def settle(self, ask: Ask, judged: Judgement, response: Response | None) -> None:
        """The task ends as this says, or is left for later."""
        task, judged = counted(ask.task, judged, self._limits)
        if isinstance(judged, Retry):
            wait = BACKOFF * 2.0 ** (task.attempts - 1) * (0.5 + self._jitter())
            self.resume_at = max(self.resume_at, self._clock() + wait)
        if isinstance(judged, Done):
            self.end(ask, judged, response)
        else:
            self.left.append(task)

    def end(self, ask: Ask, done: Done, response: Response | None = None) -> None:
        """The task ends with a page."""
        page = page_of(ask.task, done, response, sent=ask.sent, sent_at=ask.first_sent_at, now=self._clock())
        self.pages.append(page)

    def end_left(self, done: Done) -> None:
        """The tasks that were left for later end too, unasked."""
        now = self._clock()
        self.pages += [page_of(task, done, None, sent=0, sent_at=0.0, now=now) for task in self.left]
        self.left.clear()
