"""robots.txt for the whole fleet: each host's answer kept in storage for a day."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from pipeline import keys
from pipeline.http_client import HttpClient
from pipeline.storage.protocol import Storage
from stages.fetch import judge_redirect
from stages.robots import LIFETIME, Robots, read_robots, robots_request, robots_url
from stages.source import Source

MOST_REDIRECTS = 5
"""Redirects of robots.txt that are followed (RFC 9309, 2.3.1.2)."""

_decoder = msgspec.json.Decoder(Robots)


async def ask_robots(client: HttpClient, source: Source, url: str, user_agent: str) -> Robots | None:
    """What a URL's host says now, for one question by hand: unpaced, kept nowhere; None: it cannot say."""
    asked = robots_url(url)
    for _ in range(1 + MOST_REDIRECTS):
        response = await client.send(robots_request(asked, user_agent), source.spec.limits)
        moved = judge_redirect(response, source)
        if moved is None:
            break
        asked = moved
    return read_robots(response, 0.0)


class RobotsShelf:
    """The answers of hosts, shared by everyone who shares the storage."""

    def __init__(self, storage: Storage, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._clock = clock
        self._read: dict[str, Robots] = {}

    def find(self, url: str) -> Robots | None:
        """What the host of a URL said within the last day; None where it must be asked."""
        host = urlsplit(url).netloc
        known = self._read.get(host)
        if known is None or not self._good(known):
            # Another process may have asked since our copy grew old.
            known = self._stored(host)
        if known is None or not self._good(known):
            return None
        self._read[host] = known
        return known

    def _good(self, robots: Robots) -> bool:
        return self._clock() - robots.read_at < LIFETIME

    def _stored(self, host: str) -> Robots | None:
        raw = self._storage.find(keys.robots(host))
        try:
            return _decoder.decode(raw) if raw is not None else None
        except msgspec.DecodeError:
            # A copy that can be had again: asking costs one request, guessing could cost manners.
            return None

    def keep(self, url: str, robots: Robots) -> None:
        """Keep what the host of a URL said."""
        host = urlsplit(url).netloc
        self._storage.put(keys.robots(host), msgspec.json.encode(robots))
        self._read[host] = robots
