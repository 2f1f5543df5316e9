"""The engine: answers in virtual time, fails and refuses as the weather has it, and counts."""

from __future__ import annotations

import asyncio
from random import Random
from urllib.parse import parse_qs, urlsplit

import orjson

from pipeline.http_client import Slot
from pipeline.simulate.asking import Asking, Delivery
from pipeline.simulate.faults import Faults, Life
from stages.records import Request, Response
from stages.source import Limits

_ITEM = {"position": 1, "title": "t", "link": "https://docs.example/1", "snippet": "…"}
_BODY = orjson.dumps({"query": "", "total": 1, "page": 1, "items": [_ITEM]})
_NOTHING = orjson.dumps({"query": "", "total": 0, "page": 1, "items": []})
_CUT = _BODY[:20]
_JSON = {"content-type": "application/json"}

SHUT = (120.0, 120.0, 2_000.0)
"""Seconds for which the engine refuses once it began to, on average; one of these."""

STALL = 4.0
"""Seconds for which a process stands still, at most."""

CUT = 4.0
"""Seconds for which connections wait for a name server, or for a network, on average."""

ROBOTS = "/robots.txt"


class Engine:
    """What all clients ask."""

    def __init__(self, faults: Faults, asking: Asking) -> None:
        self.faults = faults
        self.asking = asking
        self.arrivals: dict[str, list[float]] = {}
        """When each source was asked, also for its robots.txt."""
        self._shut_until: dict[str, float] = {}
        self._cut_until: dict[str, float] = {}

    def connecting(self, source: str) -> float:
        """Seconds until there is a connection: where the way is cut, all have theirs when it is mended."""
        faults = self.faults
        now = faults.timeline.now
        if now >= self._cut_until.get(source, 0.0) and faults.happens(faults.weather.cut):
            self._cut_until[source] = now + faults.random.expovariate(1 / CUT)
        return max(0.0, self._cut_until.get(source, 0.0) - now)

    def answer(self, source: str, url: str) -> tuple[float, Response]:
        """Seconds until the answer, and the answer."""
        faults, random = self.faults, self.faults.random
        weather, now = faults.weather, faults.timeline.now
        if faults.happens(weather.engine_refuses):
            self._shut_until[source] = now + random.expovariate(1 / random.choice(SHUT))
            faults.note("engine", "shuts", source)
        latency = random.expovariate(1 / weather.latency)
        if now < self._shut_until.get(source, 0.0) and weather.engine_refuses:
            return latency, _refusal(random, url, self._shut_until[source] - now)
        if faults.happens(weather.engine_fails):
            return _failure(random, url, latency)
        if "moved" not in url and faults.happens(weather.engine_moves):
            return latency, Response(302, {"location": f"{url}&moved=1"}, b"", url, 5)
        body = _NOTHING if random.random() < 0.05 else _BODY
        return latency, Response(200, _JSON, body, url, int(latency * 1000))


def _refusal(random: Random, url: str, left: float) -> Response:
    status = random.choice((429, 403, 503))
    headers = {"retry-after": str(int(left) + 1)} if status == 503 or random.random() < 0.5 else {}
    return Response(status, headers, b"", url, 5)


def _failure(random: Random, url: str, latency: float) -> tuple[float, Response]:
    kind = random.choice(("500", "404", "cut_short", "connection", "timeout", "cut answer"))
    if kind in ("500", "404"):
        return latency, Response(int(kind), {}, b"", url, 5)
    if kind == "cut answer":
        return latency, Response(200, _JSON, _CUT, url, 5)
    return (10.0 if kind == "timeout" else latency), Response(0, {}, b"", url, 5, kind)


class Client:
    """The engine as one life of a process asks it, for the delivery it has in hand."""

    def __init__(self, engine: Engine, source: str, life: Life) -> None:
        self.delivery: Delivery | None = None
        self._engine = engine
        self._source = source
        self._life = life

    async def send(
        self,
        request: Request,
        limits: Limits,  # noqa: ARG002  # nothing here is a matter of seconds or bytes
        slot: Slot | None = None,
    ) -> Response:
        """Ask once, when there is a connection and the slot has not passed."""
        await asyncio.sleep(self._engine.connecting(self._source))
        if slot is not None and not await slot():
            self._engine.faults.note(self._life.name, "too late")
            return Response(0, {}, b"", request.url, 0, "late")
        self._engine.faults.alive(self._life)
        self._engine.arrivals.setdefault(self._source, []).append(self._engine.faults.timeline.now)
        if request.url.endswith(ROBOTS):
            return await self._robots(request.url)
        query = parse_qs(urlsplit(request.url).query)
        keyword, page = query["q"][0], int(query["page"][0])
        assert self.delivery is not None  # noqa: S101  # a request without a delivery is our own mistake
        self._engine.asking.ask(self.delivery, keyword, page)
        wait, response = self._engine.answer(self._source, request.url)
        whole = response.body != _CUT
        self._engine.asking.answered(self.delivery, keyword, page, response, whole=whole)
        self._engine.faults.note(
            self._life.name, "ask", f"{keyword} {page} {response.status} {response.failure}"
        )
        await asyncio.sleep(wait)
        faults = self._engine.faults
        if faults.happens(faults.weather.slow / 10):
            # The process stands still, and with it everything else that it is waiting for.
            faults.note(self._life.name, "stalled")
            faults.timeline.sleep(faults.random.random() * STALL)
        return response

    async def _robots(self, url: str) -> Response:
        """What is allowed: all of it, or nobody can say."""
        faults = self._engine.faults
        broken = faults.happens(faults.weather.engine_fails)
        faults.note(self._life.name, "ask robots", f"{self._source} {'fails' if broken else ''}")
        await asyncio.sleep(0.1)
        if broken:
            return Response(faults.random.choice((0, 500)), {}, b"", url, 5)
        return Response(faults.random.choice((200, 404)), {}, b"User-agent: *\nAllow: /", url, 5)

    async def close(self) -> None:
        """Nothing is held."""
