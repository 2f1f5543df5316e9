"""Retrieve: the tasks of one batch asked at the pacer's moments, until done, refused or out of time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from pipeline.errors import PipelineError
from pipeline.http_client import HttpClient
from pipeline.judging import Judge
from pipeline.outcomes import Ask, Outcomes
from pipeline.pacers.pacer import Pacer
from pipeline.permission import EASY, Permission
from pipeline.robots import RobotsShelf
from pipeline.robots_asking import Asking, HostRules
from stages.extract import Extractor
from stages.fetch import Done, Follow, Refused, Retry, followed, plan_request
from stages.pace import Lease, Wait
from stages.records import Batch, Page, Request, Response, Task
from stages.source import Source
from stages.tempo import Tempo, heard, open_requests

PATIENCE = 120.0
"""Seconds to wait within one invocation for a lease; what takes longer waits in the queue."""

SILENT = structlog.wrap_logger(structlog.ReturnLogger(), processors=[structlog.processors.KeyValueRenderer()])
"""A log for who keeps none."""


class Retrieved(msgspec.Struct, frozen=True):
    """What became of a batch: pages, the tasks left undone, and how long those should wait.

    ``refusals`` counts the requests that the engine refused.
    """

    pages: list[Page]
    left: tuple[Task, ...]
    delay: float = 0.0
    refusals: int = 0


class Retriever(msgspec.Struct, frozen=True):
    """What asking needs; one for all batches of a source in one process.

    ``tempos`` has the source's tempo, as this process hears it, ``connecting`` the seconds that its last
    connection took. ``stopped`` says whether the operator wants no more of the batch's run asked.
    """

    source: Source
    extractor: Extractor
    client: HttpClient
    pacer: Pacer
    user_agent: str
    clock: Callable[[], float] = time.time
    jitter: Callable[[], float] = random.random
    robots: RobotsShelf | None = None
    log: Any = SILENT
    tempos: dict[str, Tempo] = msgspec.field(default_factory=dict)
    connecting: dict[str, float] = msgspec.field(default_factory=dict)
    stopped: Callable[[], bool] = lambda: False


async def retrieve(batch: Batch, retriever: Retriever, deadline: Callable[[], float]) -> Retrieved:
    """Ask for every task of a batch. ``deadline`` gives the moment to stop, which may come closer."""
    return await _Retrieval(batch, retriever, deadline).run()


class _Use(msgspec.Struct):
    """A lease in use: the number of the slot to be taken next, and how many were used."""

    grant: Lease
    next_slot: int = 0
    used: int = 0


class _Retrieval:
    def __init__(self, batch: Batch, retriever: Retriever, deadline: Callable[[], float]) -> None:
        r = retriever
        self._batch = batch
        self._r = r
        self._name = r.source.name
        self._terms = r.source.spec.politeness
        self._limits = r.source.spec.limits
        self._deadline = deadline
        self._unruled = deque(
            Ask(task, plan_request(task, batch, r.source, r.user_agent)) for task in batch.tasks
        )
        """Not looked at by robots.txt: all of them at first, then what is redirected to another host."""
        self._pending: deque[Ask] = deque()
        self._permission = Permission(r.source, r.pacer, r.clock, deadline, r.stopped, r.log)
        asking = Asking(r.source, r.user_agent, r.clock, self._ask_rules, self._permission.untried)
        self._rules = HostRules(r.robots, asking)
        self._judge = Judge(r.source, r.extractor, r.clock, r.log)
        self._outcomes = Outcomes(self._limits, r.clock, r.jitter)

    async def run(self) -> Retrieved:
        watch = asyncio.create_task(self._permission.watch())
        try:
            await self._work()
        except PipelineError as error:
            self._permission.stop_for(error)
        finally:
            watch.cancel()
        self._pending.extend(self._unruled)
        self._spend_redirects()
        left = (*self._outcomes.left, *(ask.task for ask in self._pending))
        trouble = self._permission.trouble
        if trouble is not None and left == self._batch.tasks:
            raise trouble
        resume_at = max(self._permission.resume_at, self._outcomes.resume_at)
        delay = max(0.0, resume_at - self._r.clock()) if left else 0.0
        return Retrieved(self._outcomes.pages, left, delay, self._permission.refusals)

    async def _work(self) -> None:
        while (self._pending or self._unruled) and not self._permission.over():
            if not await self._obey_robots() or not self._pending or self._permission.over():
                return
            grant = await self._permission.lease(len(self._pending))
            if isinstance(grant, Lease):
                await self._use(grant)
            elif not await self._wait(grant):
                return

    async def _obey_robots(self) -> bool:
        """End the tasks that robots.txt disallows; False where it could not be read, so that all wait."""
        while self._unruled and not self._permission.over():
            ask = self._unruled[0]
            url = ask.request.url
            if not self._rules.known(url):
                learned = await self._rules.learn(url)
                if isinstance(learned, Refused):
                    await self._permission.refused(learned)
                if learned is not True:
                    return False
            allowed = await self._rules.allow(url)
            self._unruled.popleft()
            if allowed:
                self._pending.append(ask)
            else:
                self._outcomes.end(ask, Done("refused", "robots"))
        return True

    async def _ask_rules(self, request: Request) -> tuple[Response, Lease] | None:
        """The answer to a request for rules, with the lease it took; None where there is no time for it."""
        permission = self._permission
        while not permission.over():
            grant = await permission.lease(1)
            if isinstance(grant, Wait):
                if not await self._wait(grant):
                    return None
                continue
            moment = grant.slot(0)
            if not await permission.pause(self._early(moment)) and permission.in_time(moment):
                response, sent_at = await self._send(request, moment)
                if response.failure != "late":
                    await permission.heed(response, sent_at)
                    return response, grant
            await permission.give_back(grant, 0, 1)
        return None

    async def _wait(self, grant: Wait) -> bool:
        """Whether the wait was short enough to be spent here."""
        now = self._r.clock()
        if grant.reason == "rate" and grant.until - now <= PATIENCE and grant.until < self._deadline():
            return not await self._permission.pause(grant.until - now)
        self._permission.resume_at = max(self._permission.resume_at, grant.until)
        if grant.reason == "closed":
            self._r.log.info("source is closed", until=round(grant.until, 1))
            state = await self._permission.state()
            # The trial is about to say whether the wait was in vain; one that was refused has said so.
            soon = grant.until - now <= PATIENCE and state.refusals <= 1
            if state.closed_since and now - state.closed_since > self._terms.max_closed and not soon:
                self._end_refused(state.reason)
        return False

    def _end_refused(self, reason: str) -> None:
        """The source has been closed for longer than tasks wait: they end here, as refused."""
        for ask in (*self._pending, *self._unruled):
            self._outcomes.end(ask, Done("refused", reason))
        self._outcomes.end_left(Done("refused", reason))
        self._pending.clear()
        self._unruled.clear()

    async def _use(self, grant: Lease) -> None:
        use = _Use(grant)
        lanes = min(self._open(), grant.count)
        await asyncio.gather(*(self._lane(use, number) for number in range(lanes)))
        unused, missed = grant.count - use.next_slot, use.next_slot - use.used
        await self._permission.give_back(grant, unused, missed)

    def _open(self) -> int:
        """How many requests may be open at once, as quickly as the engine answers now."""
        return open_requests(self._r.tempos.get(self._name, Tempo()), self._terms.concurrency)

    async def _lane(self, use: _Use, number: int) -> None:
        """Take the lease's slots one after another; whoever is free takes the next."""
        permission = self._permission
        while self._pending and use.next_slot < use.grant.count and not permission.over():
            if number >= self._open():
                return
            moment = use.grant.slot(use.next_slot)
            use.next_slot += 1
            early = self._early(moment)
            if early > 0 and (await permission.pause(early) or not self._pending):
                return
            if permission.in_time(moment):
                await self._ask(self._pending.popleft(), use, moment)

    def _early(self, moment: float) -> float:
        """Seconds until a request for this slot begins: before it where connections take their time."""
        return max(0.0, moment - self._r.connecting.get(self._name, 0.0) - self._r.clock())

    async def _send(self, request: Request, moment: float) -> tuple[Response, float]:
        """Send a request in this slot; gives the answer, and when the request left."""
        clock = self._r.clock
        began = sent_at = clock()

        def begun() -> None:
            took = clock() - began
            self._r.connecting[self._name] = took if took > EASY else 0.0

        def left() -> None:
            nonlocal sent_at
            sent_at = clock()

        slot = self._permission.slot(moment, begun, left)
        return await self._r.client.send(request, self._limits, slot), sent_at

    async def _ask(self, ask: Ask, use: _Use, moment: float) -> None:
        response, sent_at = await self._send(ask.request, moment)
        if response.failure == "late":
            self._pending.appendleft(ask)
            return
        use.used += 1
        ask.sent += 1
        ask.first_sent_at = ask.first_sent_at if ask.first_sent_at else sent_at
        judged = await self._judge(ask.task, response)
        tempo = self._r.tempos.get(self._name, Tempo())
        self._r.tempos[self._name] = heard(tempo, response, self._terms.concurrency)
        try:
            if isinstance(judged, Refused):
                await self._permission.refused(judged)
            elif use.grant.trial:
                await self._permission.tried(response)
            await self._permission.heed(response, sent_at)
        except PipelineError as error:
            self._permission.stop_for(error)
        if isinstance(judged, Follow):
            self._follow(ask, judged, response)
        else:
            self._outcomes.settle(ask, judged, response)

    def _follow(self, ask: Ask, moved: Follow, response: Response) -> None:
        """Ask at a redirect's target next, once its host's robots.txt was looked at; or the task ends."""
        if ask.redirects >= self._limits.redirects:
            self._outcomes.end(ask, Done("failed", "too_many_redirects"), response)
            return
        ask.redirects += 1
        ask.request = followed(ask.request, moved)
        self._unruled.append(ask)

    def _spend_redirects(self) -> None:
        """A redirect that nobody could follow in time spends an attempt, like any request without an answer.

        A source too slow for two requests of one batch would else be asked the first one for ever.
        """
        for ask in [ask for ask in self._pending if ask.sent]:
            self._pending.remove(ask)
            self._outcomes.settle(ask, Retry("redirect_not_followed"), None)
