"""Retrieve: the tasks of one batch asked at the pacer's moments, until done, refused or out of time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from pipeline.errors import PipelineError
from pipeline.http_client import HttpClient
from pipeline.pacers.pacer import Pacer
from pipeline.robots import RobotsShelf
from pipeline.robots_asking import Asking, HostRules
from stages.extract import Extractor
from stages.fetch import (
    Done,
    Follow,
    Judgement,
    Refused,
    Retry,
    counted,
    followed,
    judge_response,
    page_of,
    plan_request,
)
from stages.pace import GRACE, Lease, PaceState, Wait, closed_to, slow
from stages.rate_headers import read_allowance
from stages.records import Batch, Page, Request, Response, Task
from stages.source import Source
from stages.tempo import Tempo, heard, open_requests

WATCH = 1.0
"""Seconds between looks at the source's state: two after a refusal elsewhere nothing more is sent."""

PATIENCE = 120.0
"""Seconds to wait within one invocation for a lease; what takes longer waits in the queue."""

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
    """What asking needs; one for all batches of a source in one process.

    ``tempos`` has the source's tempo, as this process hears it.
    """

    source: Source
    extractor: Extractor
    client: HttpClient
    pacer: Pacer
    user_agent: str
    clock: Callable[[], float] = time.time
    jitter: Callable[[], float] = random.random
    robots: RobotsShelf | None = None
    log: Any = None
    tempos: dict[str, Tempo] = msgspec.field(default_factory=dict)


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
        self._unruled = deque(
            _Ask(task, plan_request(task, batch, retriever.source, retriever.user_agent))
            for task in batch.tasks
        )
        """Not looked at by robots.txt: all of them at first, then what is redirected to another host."""
        self._pending: deque[_Ask] = deque()
        asking = Asking(
            retriever.source,
            retriever.client,
            retriever.user_agent,
            retriever.clock,
            self._slot,
            self._heed,
            self._untried,
        )
        self._rules = HostRules(retriever.robots, asking)
        self._pages: list[Page] = []
        self._left: list[Task] = []
        self._resume_at = 0.0
        self._halt = asyncio.Event()
        self._held: Lease | None = None
        """The lease in use."""
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
        self._pending.extend(self._unruled)
        self._spend_redirects()
        left = (*self._left, *(ask.task for ask in self._pending))
        if self._trouble is not None and left == self._batch.tasks:
            raise self._trouble
        delay = max(0.0, self._resume_at - self._r.clock()) if left else 0.0
        return Retrieved(self._pages, left, delay, self._refusals)

    async def _work(self) -> None:
        while (self._pending or self._unruled) and not self._over():
            if not await self._obey_robots() or not self._pending:
                return
            grant = await self._lease(len(self._pending))
            if isinstance(grant, Lease):
                await self._use(grant)
            elif not await self._wait(grant):
                return

    async def _lease(self, want: int) -> Lease | Wait:
        """Permission for what can still be asked before the deadline."""
        left = self._deadline() - self._r.clock()
        grant = await asyncio.to_thread(self._r.pacer.lease, self._name, self._terms, want, left)
        self._held = grant if isinstance(grant, Lease) else None
        return grant

    async def _obey_robots(self) -> bool:
        """End the tasks that robots.txt disallows; False where it could not be read, so that all wait."""
        while self._unruled:
            ask = self._unruled[0]
            url = ask.request.url
            if not self._rules.known(url):
                learned = await self._rules.learn(url)
                self._held = None
                if isinstance(learned, Refused):
                    await self._refused(learned)
                if learned is not True:
                    return False
            self._unruled.popleft()
            if self._rules.allow(url):
                self._pending.append(ask)
            else:
                done = Done("refused", "robots")
                self._end(ask.task, done, sent=ask.sent, response=None, sent_at=ask.first_sent_at)
        return True

    async def _slot(self) -> Lease | None:
        """A lease for one request, at its moment; None where there is no time to wait for one."""
        while not self._over():
            grant = await self._lease(1)
            if isinstance(grant, Wait):
                if not await self._wait(grant):
                    return None
                continue
            moment = grant.slot(0)
            if not await self._pause(max(0.0, moment - self._r.clock())) and self._in_time(moment):
                return grant
            await asyncio.to_thread(self._r.pacer.give_back, self._name, grant, 0, 1)
            await self._untried(grant)
        return None

    async def _untried(self, grant: Lease) -> None:
        """The lease did not decide whether a closed source opens: where it was the trial, the next one is."""
        self._held = None
        if grant.trial:
            await asyncio.to_thread(self._r.pacer.untried, self._name, grant)

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
            # The trial is about to say whether the wait was in vain; one that was refused has said so.
            soon = grant.until - now <= PATIENCE and state.refusals <= 1
            if state.closed_since and now - state.closed_since > self._terms.max_closed and not soon:
                self._end_refused(state.reason)
        return False

    def _end_refused(self, reason: str) -> None:
        """The source has been closed for longer than tasks wait: they end here, as refused."""
        for task in [*self._left, *(ask.task for ask in (*self._pending, *self._unruled))]:
            self._end(task, Done("refused", reason), sent=0, response=None, sent_at=0.0)
        self._left.clear()
        self._pending.clear()
        self._unruled.clear()

    async def _use(self, grant: Lease) -> None:
        self._next_slot = self._used = 0
        lanes = min(self._open(), grant.count)
        await asyncio.gather(*(self._lane(grant, number) for number in range(lanes)))
        self._held = None
        unused, missed = grant.count - self._next_slot, self._next_slot - self._used
        await asyncio.to_thread(self._r.pacer.give_back, self._name, grant, unused, missed)
        if not self._used:
            await self._untried(grant)

    def _open(self) -> int:
        """How many requests may be open at once, as quickly as the engine answers now."""
        return open_requests(self._r.tempos.get(self._name, Tempo()), self._terms.concurrency)

    async def _lane(self, grant: Lease, number: int) -> None:
        """Take the lease's slots one after another; whoever is free takes the next."""
        clock = self._r.clock
        while self._pending and self._next_slot < grant.count and not self._over() and number < self._open():
            moment = grant.slot(self._next_slot)
            self._next_slot += 1
            early = moment - clock()
            if early > 0 and (await self._pause(early) or not self._pending):
                return
            if self._in_time(moment):
                self._used += 1
                await self._ask(self._pending.popleft(), grant)

    def _in_time(self, moment: float) -> bool:
        """Whether a slot may be used: one that was missed is forfeited, late it would bunch up with the next.

        So is one that was leased before the engine said that it has nothing left until later.
        """
        return self._seen.held_until <= moment and self._r.clock() <= moment + GRACE

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
            held = self._held
            try:
                state = self._seen = await asyncio.to_thread(self._r.pacer.state, self._name)
            except PipelineError as error:
                self._stop_for(error)
                return
            # A lease taken since is newer than what was read.
            if closed_to(state, held if held is self._held else None, self._r.clock()):
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
        tempo = self._r.tempos.get(self._name, Tempo())
        self._r.tempos[self._name] = heard(tempo, response, self._terms.concurrency)
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
        if isinstance(judged, Follow):
            moved = self._follow(ask, judged.url)
            if moved is None:
                return
            judged = moved
        task, judged = counted(ask.task, judged, self._limits)
        if isinstance(judged, Retry):
            wait = BACKOFF * 2.0 ** (task.attempts - 1) * (0.5 + self._r.jitter())
            self._resume_at = max(self._resume_at, self._r.clock() + wait)
        if isinstance(judged, Done):
            self._end(ask.task, judged, sent=ask.sent, response=response, sent_at=ask.first_sent_at)
        else:
            self._left.append(task)

    def _follow(self, ask: _Ask, url: str) -> Done | None:
        """Ask at a redirect's target next, where that is allowed; else the task's end."""
        if ask.redirects >= self._limits.redirects:
            return Done("failed", "too_many_redirects")
        known = self._rules.known(url)
        if known and not self._rules.allow(url):
            return Done("refused", "robots")
        ask.redirects += 1
        ask.request = followed(ask.request, url)
        if known:
            self._pending.appendleft(ask)
        else:
            self._unruled.append(ask)
        return None

    def _end(self, task: Task, done: Done, *, sent: int, response: Response | None, sent_at: float) -> None:
        now = self._r.clock()
        self._pages.append(page_of(task, done, response, sent=sent, sent_at=sent_at, now=now))
