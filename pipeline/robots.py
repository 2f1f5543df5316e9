"""robots.txt for the whole fleet: each host's answer kept in storage for a day."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from pipeline import keys
from pipeline.storage.protocol import Storage
from stages.robots import LIFETIME, Robots

MOST_REDIRECTS = 5
"""Redirects of robots.txt that are followed (RFC 9309, 2.3.1.2)."""

_decoder = msgspec.json.Decoder(Robots)


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
