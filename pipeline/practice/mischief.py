"""The misbehaving answers, each as it comes over the wire."""

from __future__ import annotations

import asyncio
import hashlib
import math
import socket
import struct
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote

from aiohttp import web

from pipeline.practice.faults import Fault

Answer = Callable[[web.Request, Fault, web.Response], Awaitable[web.StreamResponse]]

_BLOCK = b"<!-- nothing to see here -->" * 2340 + b"\n" * 16
_TEXTS = {
    403: "Forbidden",
    404: "Not found",
    429: "Too many requests",
    500: "Server error",
    503: "Unavailable",
}
_CAPTCHA = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Are you a person? · Practice search</title></head>
<body><h1>Are you a person?</h1><p>Our systems have seen unusual traffic from your network.</p>
<form id="captcha-form" action="/captcha" method="post"><label>The word in the picture
<input name="answer" autocomplete="off"></label><button>Go on</button></form></body></html>
"""
_NEW_NAMES = {
    b'id="results"': b'id="m1"',
    b'id="stats"': b'id="m2"',
    b'class="hit"': b'class="x7q"',
    b'class="hit-': b'class="k4-',
    b'class="no-hits"': b'class="e0"',
    b'"items"': b'"blocks"',
    b'"total"': b'"n"',
}


async def misbehave(request: web.Request, fault: Fault, honest: web.Response) -> web.StreamResponse:
    """Answer the request as the fault says; ``honest`` is what it would have been given."""
    return await _ANSWERS[fault.kind](request, fault, honest)


def refusal(status: int, retry_after: str | None = None) -> web.Response:
    """A short page with a status, and perhaps when to come back."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    text = f"<!doctype html><title>{status}</title><h1>{_TEXTS[status]}</h1>"
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)


def whole_seconds(seconds: float) -> str:
    """Retry-After in seconds knows no fractions."""
    return str(math.ceil(seconds))


async def _refuse(_request: web.Request, fault: Fault, _honest: web.Response) -> web.StreamResponse:
    if fault.kind == "throttle-date":
        # A date has whole seconds too, and must not lie before what was meant.
        return refusal(429, formatdate(math.ceil(time.time() + fault.wait(2.0)), usegmt=True))
    status = {"throttle": 429, "forbidden": 403, "not-found": 404, "error": 500}.get(fault.kind, 503)
    told = fault.kind in ("throttle", "unavailable-retry")
    return refusal(status, whole_seconds(fault.wait(2.0)) if told else None)


async def _captcha(_request: web.Request, _fault: Fault, _honest: web.Response) -> web.StreamResponse:
    return web.Response(text=_CAPTCHA, content_type="text/html")


async def _layout(_request: web.Request, _fault: Fault, honest: web.Response) -> web.StreamResponse:
    body = _body(honest)
    for old, new in _NEW_NAMES.items():
        body = body.replace(old, new)
    return _like(honest, body)


async def _garbage(request: web.Request, _fault: Fault, honest: web.Response) -> web.StreamResponse:
    return _like(honest, hashlib.shake_256(request.path_qs.encode()).digest(8192))


async def _charset(_request: web.Request, fault: Fault, honest: web.Response) -> web.StreamResponse:
    body = _body(honest)
    if fault.kind == "charset-lie":
        return _like(honest, body, charset="utf-16")
    if fault.kind == "charset-utf16":
        return _like(honest, body.decode().encode("utf-16"))
    return _like(honest, body.decode().encode("latin-1", errors="replace"))


async def _truncated(request: web.Request, _fault: Fault, honest: web.Response) -> web.StreamResponse:
    body = _body(honest)
    response = web.StreamResponse(headers={"Content-Type": honest.headers["Content-Type"]})
    response.content_length = len(body)
    with suppress(ConnectionError):
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _drip(request: web.Request, fault: Fault, honest: web.Response) -> web.StreamResponse:
    body = _body(honest)
    response = web.StreamResponse(headers={"Content-Type": honest.headers["Content-Type"]})
    response.content_length = len(body)
    with suppress(ConnectionError):
        await response.prepare(request)
        for byte in body:
            await response.write(bytes([byte]))
            await asyncio.sleep(fault.wait(1.0))
    return response


async def _huge(request: web.Request, fault: Fault, honest: web.Response) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": honest.headers["Content-Type"]})
    left = fault.size
    with suppress(ConnectionError):
        await response.prepare(request)
        while left > 0:
            await response.write(_BLOCK[:left])
            left -= len(_BLOCK)
    return response


async def _bomb(_request: web.Request, fault: Fault, honest: web.Response) -> web.StreamResponse:
    # Packing takes a moment, and other requests' arrivals must not wait for it.
    body, encoding = await asyncio.to_thread(bomb, fault.size), "gzip"
    if fault.kind == "gzip-bomb-double":
        body, encoding = _gzip(body), "gzip, gzip"
    response = _like(honest, body)
    response.headers["Content-Encoding"] = encoding
    return response


async def _away(request: web.Request, fault: Fault, _honest: web.Response) -> web.StreamResponse:
    # By its other name this engine is another host, and its arrivals show who followed.
    there = fault.location or f"http://localhost:{request.url.port}/elsewhere?from={quote(request.path_qs)}"
    return web.Response(status=302, headers={"Location": there})


async def _loop(request: web.Request, _fault: Fault, _honest: web.Response) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": f"/redirect?round=1&from={quote(request.path_qs)}"})


async def _reset(request: web.Request, _fault: Fault, honest: web.Response) -> web.StreamResponse:
    if request.transport is not None:
        wire = request.transport.get_extra_info("socket")
        # Lingering for no time at all turns the close into a reset.
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return honest


@lru_cache(maxsize=4)
def bomb(size: int) -> bytes:
    """A gzip file of about a thousandth of ``size`` that inflates to ``size`` bytes."""
    return _gzip(b"", padding=size)


def _gzip(start: bytes, padding: int = 0) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts, blank = [packer.compress(start)], b" " * (1 << 20)
    while padding > 0:
        parts.append(packer.compress(blank[:padding]))
        padding -= len(blank)
    return b"".join([*parts, packer.flush()])


def _body(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


def _like(honest: web.Response, body: bytes, charset: str | None = None) -> web.Response:
    """The body under the honest answer's header, save for what it says about the charset."""
    return web.Response(body=body, content_type=honest.content_type, charset=charset or honest.charset)


_ANSWERS: dict[str, Answer] = {
    "throttle": _refuse,
    "throttle-date": _refuse,
    "unavailable": _refuse,
    "unavailable-retry": _refuse,
    "forbidden": _refuse,
    "not-found": _refuse,
    "error": _refuse,
    "captcha": _captcha,
    "layout": _layout,
    "garbage": _garbage,
    "truncated": _truncated,
    "drip": _drip,
    "charset-latin1": _charset,
    "charset-utf16": _charset,
    "charset-lie": _charset,
    "redirect-away": _away,
    "redirect-loop": _loop,
    "huge": _huge,
    "gzip-bomb": _bomb,
    "gzip-bomb-double": _bomb,
    "reset": _reset,
}
