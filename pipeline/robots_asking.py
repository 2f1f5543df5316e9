"""robots.txt in a batch: each host's rules read once, as paced requests that never decide a trial."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from pipeline.robots import MOST_REDIRECTS, RobotsShelf
from stages.fetch import Refused, judge_redirect, retry_after_of
from stages.pace import Lease
from stages.records import Request, Response
from stages.robots import Robots, allowed_by, read_robots, robots_request, robots_url
from stages.source import Source


class Asking(msgspec.Struct, frozen=True):
    """What reading rules needs of whoever asks.

    ``send`` sends a request in a lease of its own, once there is one, and gives None where there is no time
    for it; ``untried`` is told each lease that decided no trial.
    """

    source: Source
    user_agent: str
    clock: Callable[[], float]
    send: Callable[[Request], Awaitable[tuple[Response, Lease] | None]]
    untried: Callable[[Lease], Awaitable[None]]


class HostRules:
    """The rules of the hosts that one batch meets; without a shelf everything is allowed."""

    def __init__(self, shelf: RobotsShelf | None, asking: Asking) -> None:
        self._shelf = shelf
        self._asking = asking
        self._allowed: dict[str, Callable[[str], bool]] = {}

    def known(self, url: str) -> bool:
        """Whether the rules of a URL's host have been read."""
        return self._shelf is None or robots_url(url) in self._allowed

    async def allow(self, url: str) -> bool:
        """Whether a URL of a known host may be asked. Others have a turn meanwhile: rules may be many."""
        if self._shelf is None:
            return True
        await asyncio.sleep(0)
        return self._allowed[robots_url(url)](url)

    async def learn(self, url: str) -> Refused | bool:
        """Read the rules of a host: True; False where there was no time; ``Refused`` if it cannot say."""
        if self._shelf is None:
            return True
        where = robots_url(url)
        robots = await asyncio.to_thread(self._shelf.find, where)
        if robots is None:
            asked = await self._ask(where)
            if not isinstance(asked, Robots):
                return asked if asked is not None else False
            await asyncio.to_thread(self._shelf.keep, where, asked)
            robots = asked
        self._allowed[where] = await asyncio.to_thread(allowed_by, robots, self._asking.user_agent)
        return True

    async def _ask(self, url: str) -> Robots | Refused | None:
        asking = self._asking
        for _ in range(1 + MOST_REDIRECTS):
            answered = await asking.send(robots_request(url, asking.user_agent))
            if answered is None:
                return None
            response, lease = answered
            moved = judge_redirect(response, asking.source)
            now = asking.clock()
            robots = read_robots(response, now) if moved is None else None
            if moved is None and robots is None:
                return Refused("robots_unreachable", retry_after_of(response, now))
            # Rules say nothing of how questions are received: the trial is still to be made.
            await asking.untried(lease)
            if moved is None:
                return robots
            url = moved
        return Refused("robots_unreachable")
