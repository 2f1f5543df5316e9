"""The doors of the practice engine, as an aiohttp application."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from pipeline.practice.desk import Behaviour, Desk, Request
from pipeline.practice.index import SITE, Index
from pipeline.practice.mischief import misbehave, refusal, whole_seconds
from pipeline.practice.page import HITS_A_PAGE, MOST_PAGES, Ask, ask, find, results_page

_MOST_SIZE = 100


def application(index: Index, desk: Desk) -> web.Application:
    """The engine over an open index, noting its arrivals at the desk."""
    app = web.Application(middlewares=[_reception(desk)])
    doors = _Doors(index, desk)
    app.router.add_get("/", doors.home)
    app.router.add_get("/search", doors.search)
    app.router.add_get("/api/search", doors.api_search)
    app.router.add_get("/robots.txt", doors.robots)
    app.router.add_get("/echo", doors.echo)
    app.router.add_get("/url", doors.follow)
    app.router.add_get("/redirect", doors.redirect)
    app.router.add_get("/elsewhere", doors.elsewhere)
    app.router.add_get("/practice/arrivals", doors.arrivals)
    app.router.add_post("/practice/faults", doors.set_faults)
    app.router.add_post("/practice/reset", doors.reset)
    return app


async def create_app(index_path: Path, behaviour: Behaviour | None = None) -> web.Application:
    """The engine as an application of its own; closes its index when it ends."""
    index = await asyncio.to_thread(Index, index_path)
    app = application(index, Desk(behaviour))

    async def close(_app: web.Application) -> None:
        index.close()

    app.on_cleanup.append(close)
    return app


def _reception(desk: Desk) -> Any:
    """Notes each arrival first of all, then gives what the desk decided; control doors are not noted."""

    @web.middleware
    async def receive(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/practice/"):
            return await handler(request)
        verdict = desk.arrive(_told(request))
        if verdict.retry_after:
            return refusal(429, whole_seconds(verdict.retry_after))
        if verdict.delay:
            await asyncio.sleep(verdict.delay)
        honest = await handler(request)
        if verdict.fault and isinstance(honest, web.Response):
            return await misbehave(request, verdict.fault, honest)
        return honest

    return receive


def _told(request: web.Request) -> Request:
    asked = _asked(request)
    return Request(
        path=request.path,
        keyword=asked.query,
        page=asked.page,
        user_agent=request.headers.get("User-Agent", ""),
        host=request.host,
    )


def _asked(request: web.Request) -> Ask:
    said = request.query
    return ask(said.get("q", ""), said.get("page", ""), said.get("start", ""), said.get("hl", ""))


class _Doors:
    """What is behind each path."""

    def __init__(self, index: Index, desk: Desk) -> None:
        self._index = index
        self._desk = desk

    async def home(self, _request: web.Request) -> web.Response:
        text = '<!doctype html><title>Practice search</title><form action="/search"><input name="q"></form>'
        return web.Response(text=text, content_type="text/html")

    async def search(self, request: web.Request) -> web.Response:
        body = results_page(self._index, _asked(request))
        return web.Response(body=body, content_type="text/html", charset="utf-8")

    async def api_search(self, request: web.Request) -> web.Response:
        asked, said = _asked(request), request.query.get("size", "")
        size = min(_MOST_SIZE, max(1, int(said))) if said.isdecimal() and len(said) < 6 else HITS_A_PAGE
        total, hits = find(self._index, asked, size)
        first = (asked.page - 1) * size + 1
        items = [
            {"position": first + n, "title": h.title, "link": h.link, "snippet": h.snippet, "kind": h.kind}
            for n, h in enumerate(hits)
        ]
        more = asked.page < MOST_PAGES and first + size <= total
        return _json(
            {"query": asked.query, "language": asked.hl, "total": total, "page": asked.page}
            | {"next": asked.page + 1 if more else None, "items": items}
        )

    async def robots(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._desk.behaviour.robots, content_type="text/plain")

    async def echo(self, request: web.Request) -> web.Response:
        return _json({"address": request.remote, "user_agent": request.headers.get("User-Agent", "")})

    async def follow(self, request: web.Request) -> web.Response:
        target = request.query.get("target", "")
        if not target.startswith(SITE):
            return refusal(404)
        return web.Response(status=302, headers={"Location": target})

    async def redirect(self, request: web.Request) -> web.Response:
        """To a path of this engine, or (without one) to the other half of a loop."""
        target = request.query.get("to", "")
        parts = urlsplit(target)
        if target.startswith("/") and not parts.netloc and "\\" not in target:
            return web.Response(status=302, headers={"Location": target})
        other = "2" if request.query.get("round") == "1" else "1"
        return web.Response(status=302, headers={"Location": f"/redirect?round={other}"})

    async def elsewhere(self, _request: web.Request) -> web.Response:
        text = "<!doctype html><title>Elsewhere</title><p>You have left the engine you asked."
        return web.Response(text=text, content_type="text/html")

    async def arrivals(self, _request: web.Request) -> web.Response:
        return _json([msgspec.structs.asdict(arrival) for arrival in self._desk.arrivals])

    async def set_faults(self, request: web.Request) -> web.Response:
        """The whole behaviour: what is left out of it is as in the beginning."""
        try:
            behaviour = msgspec.json.decode(await request.read(), type=Behaviour)
        except msgspec.DecodeError as error:
            return _json({"error": str(error)}, status=400)
        self._desk.behave(behaviour)
        return _json({"faults": len(behaviour.faults)})

    async def reset(self, _request: web.Request) -> web.Response:
        """Forget everything that was asked, and behave well again."""
        self._desk.reset()
        self._desk.behave(Behaviour())
        return _json({"reset": True})


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(value), status=status, content_type="application/json", charset="utf-8"
    )
