"""robots.txt in a batch: each host's rules read once, as paced requests that never decide a trial."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from pipeline.http_client import HttpClient
from pipeline.robots import MOST_REDIRECTS, RobotsShelf
from stages.fetch import Refused, judge_redirect, retry_after_of
from stages.pace import Lease
from stages.records import Response
from stages.robots import Robots, allowed_by, read_robots, robots_request, robots_url
from stages.source import Source


class Asking(msgspec.Struct, frozen=True):
    """What reading rules needs of whoever asks.

    ``slot`` waits for a lease of one request and its moment, and gives None where there is no time for it;
    ``heed`` is told each answer and when its request left, ``untried`` each lease that decided no trial.
    """

    source: Source
    client: HttpClient
    user_agent: str
    clock: Callable[[], float]
    slot: Callable[[], Awaitable[Lease | None]]
    heed: Callable[[Response, float], Awaitable[None]]
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

    def allow(self, url: str) -> bool:
        """Whether a URL of a known host may be asked."""
        return self._shelf is None or self._allowed[robots_url(url)](url)

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
        self._allowed[where] = allowed_by(robots, self._asking.user_agent)
        return True

    async def _ask(self, url: str) -> Robots | Refused | None:
        asking = self._asking
        for _ in range(1 + MOST_REDIRECTS):
            lease = await asking.slot()
            if lease is None:
                return None
            sent_at = asking.clock()
            request = robots_request(url, asking.user_agent)
            response = await asking.client.send(request, asking.source.spec.limits)
            await asking.heed(response, sent_at)
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
