"""Permission: whether one batch may ask now, by pacer, source, operator and the time left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pipeline.errors import PipelineError
from pipeline.http_client import Slot
from pipeline.pacers.pacer import Pacer
from stages.fetch import Refused
from stages.pace import GRACE, Lease, PaceState, Wait, closed_to, slow
from stages.rate_headers import read_allowance
from stages.records import Response
from stages.source import Source

WATCH = 1.0
"""Seconds between looks at the source's state: two after a refusal elsewhere nothing more is sent."""

EASY = GRACE / 2
"""Seconds that a connection may take without a request that needs it being begun before its slot."""


class Permission:
    """What one batch may do at its source. Everything halts at once: by a refusal, an error, a deadline."""

    def __init__(  # each is one of the things that may say no
        self,
        source: Source,
        pacer: Pacer,
        clock: Callable[[], float],
        deadline: Callable[[], float],
        stopped: Callable[[], bool],
        log: Any,
    ) -> None:
        """``deadline`` gives the moment to stop, which may come closer; ``stopped`` asks the operator."""
        self._name = source.name
        self._terms = source.spec.politeness
        self._answer = source.spec.limits.timeout
        self._pacer = pacer
        self._clock = clock
        self._deadline = deadline
        self._stopped = stopped
        self._log = log
        self._halt = asyncio.Event()
        self._held: Lease | None = None
        """The lease in use."""
        self._seen = PaceState()
        """The source's state at the last look."""
        self.resume_at = 0.0
        """When what is left may be asked again, as far as it is known."""
        self.refusals = 0
        self.trouble: PipelineError | None = None

    def over(self) -> bool:
        """Whether nothing more may be asked."""
        return self._halt.is_set() or self._clock() >= self._deadline()

    async def lease(self, want: int) -> Lease | Wait:
        """Permission for what can still be asked before the deadline."""
        left = self._deadline() - self._clock()
        grant = await asyncio.to_thread(
            self._pacer.lease, self._name, self._terms, want, left, answer=self._answer
        )
        self._held = grant if isinstance(grant, Lease) else None
        return grant

    async def give_back(self, grant: Lease, unused: int, missed: int) -> None:
        """Return what was not used of a lease. Where that was a trial, and all of it, the next one is."""
        self._held = None
        await asyncio.to_thread(self._pacer.give_back, self._name, grant, unused, missed)
        if unused + missed >= grant.count:
            await self.untried(grant)

    def in_time(self, moment: float) -> bool:
        """Whether a slot may be used: one that was missed is forfeited, late it would bunch up with the next.

        So is one that was leased before the engine said that it has nothing left until later.
        """
        return self._seen.held_until <= moment and self._clock() <= moment + GRACE

    def slot(self, moment: float, begun: Callable[[], None], left: Callable[[], None]) -> Slot:
        """A slot as a request waits for it on the wire.

        ``begun`` is called when its connection is there, ``left`` where it leaves then.
        """

        async def leave() -> bool:
            begun()
            halted = await self.pause(moment - self._clock()) if moment > self._clock() else self.over()
            if halted or not self.in_time(moment):
                return False
            left()
            return True

        return leave

    async def pause(self, seconds: float) -> bool:
        """Sleep; True where everything was halted meanwhile."""
        if seconds < WATCH / 2:
            await asyncio.sleep(seconds)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._halt.wait(), seconds)
        return self._halt.is_set()

    async def watch(self) -> None:
        """Look at the source and at what the operator says, until something halts the batch."""
        while not self._halt.is_set():
            await asyncio.sleep(WATCH)
            held = self._held
            try:
                state = self._seen = await asyncio.to_thread(self._pacer.state, self._name)
                if await asyncio.to_thread(self._stopped):
                    self._halt.set()
            except PipelineError as error:
                self.stop_for(error)
                return
            # A lease taken since is newer than what was read.
            if closed_to(state, held if held is self._held else None, self._clock()):
                self.resume_at = max(self.resume_at, state.closed_until)
                self._halt.set()
            if self._clock() >= self._deadline():
                self._halt.set()

    async def state(self) -> PaceState:
        """The source's state now."""
        return await asyncio.to_thread(self._pacer.state, self._name)

    async def heed(self, response: Response, sent_at: float) -> None:
        """Go by the engine's own rate headers; the store is asked only where they are stricter than known."""
        now = self._clock()
        allowance = read_allowance(response.headers, now)
        if allowance is None or slow(self._seen, self._terms, allowance, sent_at, now) == self._seen:
            return
        before = self._seen
        self._seen = await asyncio.to_thread(self._pacer.slow, self._name, self._terms, allowance, sent_at)
        if self._seen.held_until > max(now, before.held_until):
            self._log.info("the engine has nothing left", until=round(self._seen.held_until, 1))

    async def refused(self, judged: Refused) -> None:
        """The engine said no: the source is closed for everyone, and this batch halts."""
        self.refusals += 1
        state = await asyncio.to_thread(
            self._pacer.refuse, self._name, self._terms, judged.until, judged.reason
        )
        self._log.warning("refused", reason=judged.reason, closed_until=round(state.closed_until, 1))
        self.resume_at = max(self.resume_at, state.closed_until)
        self._halt.set()

    async def tried(self, response: Response) -> None:
        """The outcome of a trial request: any answer but a refusal reopens, silence closes again."""
        if response.status and not response.failure:
            await asyncio.to_thread(self._pacer.answered, self._name)
            self._log.info("trial answered")
        else:
            await self.refused(Refused(f"trial_{response.failure}"))

    async def untried(self, grant: Lease) -> None:
        """The lease did not decide whether a closed source opens: where it was the trial, the next one is."""
        self._held = None
        if grant.trial:
            await asyncio.to_thread(self._pacer.untried, self._name, grant)

    def stop_for(self, trouble: PipelineError) -> None:
        """Where the pace cannot be known nothing more is asked; what was answered is kept."""
        self.trouble = trouble
        self._halt.set()
        self._log.error("asking stopped", error=str(trouble))
