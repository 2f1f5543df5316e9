"""Retrieve: the tasks of one batch asked at the pacer's moments, until done, refused or out of time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pipeline.errors import PipelineError
from pipeline.http_client import HttpClient
from pipeline.pacers.pacer import Pacer
from pipeline.robots import RobotsShelf
from stages.extract import Extractor
from stages.fetch import (
    Done,
    Follow,
    Judgement,
    Refused,
    Retry,
    judge_redirect,
    judge_response,
    plan_request,
)
from stages.pace import GRACE, Lease, PaceState, Wait, slow
from stages.rate_headers import read_allowance
from stages.records import Batch, Page, Request, Response, Task
from stages.robots import Robots, allowed_by, read_robots, robots_request, robots_url
from stages.source import Source

WATCH = 1.0
"""Seconds between looks at the source's state: two after a refusal elsewhere nothing more is sent."""

PATIENCE = 120.0
"""Seconds to wait within one invocation for a lease; what takes longer waits in the queue."""

MOST_REDIRECTS = 5
"""Redirects of robots.txt that are followed (RFC 9309, 2.3.1.2)."""

BACKOFF = 2.0
"""Seconds before a failed request is tried again, doubled for each earlier failure."""


class Retrieved(msgspec.Struct, frozen=True):
    """What became of a batch: pages, the tasks left undone, and how long those should wait.

    ``refusals`` counts the requests that the engine refused.
    """

    pages: list[Page]
    left: tuple[Task, ...]
    delay: float = 0.0
    refusals: int = 0


class Retriever(msgspec.Struct, frozen=True):
    """What asking needs; one for all batches of a source in one process."""

    source: Source
    extractor: Extractor
    client: HttpClient
    pacer: Pacer
    user_agent: str
    clock: Callable[[], float] = time.time
    jitter: Callable[[], float] = random.random
    robots: RobotsShelf | None = None
    log: Any = None


async def retrieve(batch: Batch, retriever: Retriever, deadline: Callable[[], float]) -> Retrieved:
    """Ask for every task of a batch. ``deadline`` gives the moment to stop, which may come closer."""
    return await _Retrieval(batch, retriever, deadline).run()


class _Ask(msgspec.Struct):
    """One task on its way: the request to send next, and how many were sent for it here."""

    task: Task
    request: Request
    sent: int = 0
    redirects: int = 0
    first_sent_at: float = 0.0


class _Retrieval:
    def __init__(self, batch: Batch, retriever: Retriever, deadline: Callable[[], float]) -> None:
        self._batch = batch
        self._r = retriever
        self._name = retriever.source.name
        self._terms = retriever.source.spec.politeness
        self._limits = retriever.source.spec.limits
        self._deadline = deadline
        self._pending = deque(
            _Ask(task, plan_request(task, batch, retriever.source, retriever.user_agent))
            for task in batch.tasks
        )
        self._pages: list[Page] = []
        self._left: list[Task] = []
        self._resume_at = 0.0
        self._halt = asyncio.Event()
        self._next_slot = 0
        self._used = 0
        self._seen = PaceState()
        """The source's state at the last look."""
        self._refusals = 0
        self._trouble: PipelineError | None = None

    async def run(self) -> Retrieved:
        watch = asyncio.create_task(self._watch())
        try:
            await self._work()
        except PipelineError as error:
            self._stop_for(error)
        finally:
            watch.cancel()
        self._spend_redirects()
        left = (*self._left, *(ask.task for ask in self._pending))
        if self._trouble is not None and left == self._batch.tasks:
            raise self._trouble
        delay = max(0.0, self._resume_at - self._r.clock()) if left else 0.0
        return Retrieved(self._pages, left, delay, self._refusals)

    async def _work(self) -> None:
        if self._r.robots is not None and not await self._obey_robots(self._r.robots):
            return
        while self._pending and not self._over():
            grant = await self._lease(len(self._pending))
            if isinstance(grant, Lease):
                await self._use(grant)
            elif not await self._wait(grant):
                return

    async def _lease(self, want: int) -> Lease | Wait:
        """Permission for what can still be asked before the deadline."""
        left = self._deadline() - self._r.clock()
        return await asyncio.to_thread(self._r.pacer.lease, self._name, self._terms, want, left)

    async def _obey_robots(self, shelf: RobotsShelf) -> bool:
        """End the tasks that robots.txt disallows; False where it could not be read, so that all wait."""
        urls = {robots_url(ask.request.url) for ask in self._pending}
        for url in urls:
            robots = await asyncio.to_thread(shelf.find, url)
            if robots is None:
                robots = await self._ask_robots(url)
                if robots is None:
                    return False
                await asyncio.to_thread(shelf.keep, url, robots)
            allowed = allowed_by(robots, self._r.user_agent)
            for ask in list(self._pending):
                if robots_url(ask.request.url) == url and not allowed(ask.request.url):
                    self._pending.remove(ask)
                    self._end(ask.task, Done("refused", "robots"), sent=0, response=None, sent_at=0.0)
        return True

    async def _ask_robots(self, url: str) -> Robots | None:
        """Ask for robots.txt: a request like any other, paced, and refused where the host cannot say."""
        for _ in range(1 + MOST_REDIRECTS):
            grant = await self._lease(1)
            while not isinstance(grant, Lease):
                if not await self._wait(grant) or self._over():
                    return None
                grant = await self._lease(1)
            if await self._pause(max(0.0, grant.slot(0) - self._r.clock())):
                return None
            response = await self._r.client.send(robots_request(url, self._r.user_agent), self._limits)
            if grant.trial:
                await self._tried(response)
            moved = judge_redirect(response, self._r.source)
            if moved is None:
                break
            url = moved
        robots = read_robots(response, self._r.clock())
        if robots is None:
            await self._refused(Refused("robots_unreachable"))
        return robots

    def _stop_for(self, trouble: PipelineError) -> None:
        """Where the pace cannot be known nothing more is asked; what was answered is kept."""
        self._trouble = trouble
        self._halt.set()
        if self._r.log is not None:
            self._r.log.error("asking stopped", error=str(trouble))

    async def _wait(self, grant: Wait) -> bool:
        """Whether the wait was short enough to be spent here."""
        now = self._r.clock()
        if grant.reason == "rate" and grant.until - now <= PATIENCE and grant.until < self._deadline():
            return not await self._pause(grant.until - now)
        self._resume_at = max(self._resume_at, grant.until)
        if grant.reason == "closed":
            if self._r.log is not None:
                self._r.log.info("source is closed", until=round(grant.until, 1))
            state = await asyncio.to_thread(self._r.pacer.state, self._name)
            soon = grant.until - now <= PATIENCE
            if state.closed_since and now - state.closed_since > self._terms.max_closed and not soon:
                self._end_refused(state.reason)
        return False

    def _end_refused(self, reason: str) -> None:
        """The source has been closed for longer than tasks wait: they end here, as refused."""
        for task in [*self._left, *(ask.task for ask in self._pending)]:
            self._end(task, Done("refused", reason), sent=0, response=None, sent_at=0.0)
        self._left.clear()
        self._pending.clear()

    async def _use(self, grant: Lease) -> None:
        self._next_slot = self._used = 0
        lanes = min(self._terms.concurrency, grant.count)
        await asyncio.gather(*(self._lane(grant) for _ in range(lanes)))
        unused, missed = grant.count - self._next_slot, self._next_slot - self._used
        await asyncio.to_thread(self._r.pacer.give_back, self._name, grant, unused, missed)

    async def _lane(self, grant: Lease) -> None:
        """Take the lease's slots one after another; whoever is free takes the next."""
        clock = self._r.clock
        while self._pending and self._next_slot < grant.count and not self._over():
            moment = grant.slot(self._next_slot)
            self._next_slot += 1
            early = moment - clock()
            if early > 0 and (await self._pause(early) or not self._pending):
                return
            # A slot that was missed is forfeited: used late it would bunch up with the next ones. So is one
            # that was leased before the engine said that it has nothing left until later.
            if self._seen.held_until <= moment and clock() <= moment + GRACE:
                self._used += 1
                await self._ask(self._pending.popleft(), grant)

    def _over(self) -> bool:
        return self._halt.is_set() or self._r.clock() >= self._deadline()

    async def _pause(self, seconds: float) -> bool:
        """Sleep; True where everything was halted meanwhile."""
        if seconds < WATCH / 2:
            await asyncio.sleep(seconds)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._halt.wait(), seconds)
        return self._halt.is_set()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH)
            try:
                state = self._seen = await asyncio.to_thread(self._r.pacer.state, self._name)
            except PipelineError as error:
                self._stop_for(error)
                return
            if state.closed_since and self._r.clock() < state.closed_until:
                self._resume_at = max(self._resume_at, state.closed_until)
                self._halt.set()
            if self._r.clock() >= self._deadline():
                self._halt.set()

    async def _ask(self, ask: _Ask, grant: Lease) -> None:
        sent_at = self._r.clock()
        ask.first_sent_at = ask.first_sent_at if ask.first_sent_at else sent_at
        ask.sent += 1
        response = await self._r.client.send(ask.request, self._limits)
        judged = self._judge(ask, response)
        try:
            if isinstance(judged, Refused):
                await self._refused(judged)
            elif grant.trial:
                await self._tried(response)
            await self._heed(response, sent_at)
        except PipelineError as error:
            self._stop_for(error)
        self._apply(ask, judged, response)

    def _judge(self, ask: _Ask, response: Response) -> Judgement:
        try:
            return judge_response(ask.task, self._r.source, self._r.extractor, response, self._r.clock())
        # One answer that shows a defect of ours costs its own task an attempt, never its neighbours'.
        except Exception:
            if self._r.log is not None:
                self._r.log.exception("an answer could not be judged", keyword=ask.task.keyword)
            return Retry("defect")

    async def _heed(self, response: Response, sent_at: float) -> None:
        """Go by the engine's own rate headers; the store is asked only where they are stricter than known."""
        now = self._r.clock()
        allowance = read_allowance(response.headers, now)
        if allowance is None or slow(self._seen, self._terms, allowance, sent_at, now) == self._seen:
            return
        before = self._seen
        self._seen = await asyncio.to_thread(self._r.pacer.slow, self._name, self._terms, allowance, sent_at)
        if self._r.log is not None and self._seen.held_until > max(now, before.held_until):
            self._r.log.info("the engine has nothing left", until=round(self._seen.held_until, 1))

    async def _refused(self, judged: Refused) -> None:
        self._refusals += 1
        state = await asyncio.to_thread(
            self._r.pacer.refuse, self._name, self._terms, judged.until, judged.reason
        )
        if self._r.log is not None:
            self._r.log.warning("refused", reason=judged.reason, closed_until=round(state.closed_until, 1))
        self._resume_at = max(self._resume_at, state.closed_until)
        self._halt.set()

    async def _tried(self, response: Response) -> None:
        """The outcome of a trial request: any answer but a refusal reopens, silence closes again."""
        if response.status and not response.failure:
            await asyncio.to_thread(self._r.pacer.answered, self._name)
            if self._r.log is not None:
                self._r.log.info("trial answered")
        else:
            await self._refused(Refused(f"trial_{response.failure}"))

    def _spend_redirects(self) -> None:
        """A redirect that nobody could follow in time spends an attempt, like any request without an answer.

        A source too slow for two requests of one batch would else be asked the first one for ever.
        """
        for ask in [ask for ask in self._pending if ask.sent]:
            self._pending.remove(ask)
            self._apply(ask, Retry("redirect_not_followed"), None)

    def _apply(self, ask: _Ask, judged: Judgement, response: Response | None) -> None:
        task = ask.task
        if isinstance(judged, Follow):
            if ask.redirects >= self._limits.redirects:
                judged = Done("failed", "too_many_redirects")
            else:
                ask.redirects += 1
                ask.request = _followed(ask.request, judged.url)
                self._pending.appendleft(ask)
                return
        if isinstance(judged, Retry):
            task = msgspec.structs.replace(task, attempts=task.attempts + 1)
            if task.attempts >= self._limits.attempts:
                judged = Done("failed", judged.reason)
            else:
                wait = BACKOFF * 2.0 ** (task.attempts - 1) * (0.5 + self._r.jitter())
                self._resume_at = max(self._resume_at, self._r.clock() + wait)
        elif isinstance(judged, Refused):
            task = msgspec.structs.replace(task, refusals=task.refusals + 1)
            if task.refusals >= self._limits.refusals:
                judged = Done("refused", judged.reason)
        if isinstance(judged, Done):
            self._end(ask.task, judged, sent=ask.sent, response=response, sent_at=ask.first_sent_at)
        else:
            self._left.append(task)

    def _end(self, task: Task, done: Done, *, sent: int, response: Response | None, sent_at: float) -> None:
        now = self._r.clock()
        page = Page(
            task=task,
            attempts=task.attempts + task.refusals + sent,
            status=done.status,
            reason=done.reason,
            http_status=response.status if response is not None else 0,
            requested_at=sent_at if sent_at else now,
            fetched_at=now,
            latency_ms=response.latency_ms if response is not None else 0,
            bytes=done.bytes,
            url=response.url if response is not None else "",
            total_results=done.total,
            results=done.results,
        )
        self._pages.append(page)


def _followed(request: Request, url: str) -> Request:
    """The request for a redirect's target. Secrets go to the host they were meant for and to no other."""
    same = urlsplit(request.url)[:2] == urlsplit(url)[:2]
    secret = request.secret_headers if same else {}
    return msgspec.structs.replace(request, method="GET", url=url, body=None, secret_headers=secret)
