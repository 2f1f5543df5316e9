"""robots.txt (RFC 9309): what an answer to it means, and whether a URL may be asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from protego import Protego

from stages.body import inflate, to_utf8
from stages.records import Malformed, Request, Response

LIFETIME = 86_400.0
"""Seconds that an answer is good for (RFC 9309, 2.4)."""

MOST_BYTES = 512_000
"""Bytes of a file that count; the RFC asks for 500 KiB at least."""

_TOKEN = re.compile(r"[a-z_-]+", re.IGNORECASE)
_NAMED = re.compile(r"^([ \t]*user-agent[ \t]*:[ \t]*[a-z_-]+)[^\r\n]*", re.IGNORECASE | re.MULTILINE)


class Robots(msgspec.Struct, frozen=True):
    """What a host said, and when (epoch seconds): rules as text, or that there are none."""

    read_at: float
    kind: Literal["rules", "none"]
    text: str = ""


def robots_url(url: str) -> str:
    """Where the robots.txt of a URL's host is."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/robots.txt"


def robots_request(url: str, user_agent: str) -> Request:
    """The request for a robots.txt, of which the beginning is enough; so it must come uncompressed."""
    headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
    return Request("GET", url, headers, enough=MOST_BYTES)


def read_robots(response: Response, now: float) -> Robots | None:
    """What an answer to robots.txt means; None where the host cannot say now, so that nothing is asked.

    A 4xx says that there are no rules; a 5xx, a 429, no answer or a redirect that is not followed says
    nothing (RFC 9309, 2.3.1). A host that may not be connected to needs no rules: its tasks fail
    without a request, and the next ones find this answer out of date.
    """
    if response.failure == "private_address":
        return Robots(0.0, "none")
    if response.failure and response.failure != "too_large":
        return None
    if 400 <= response.status < 500 and response.status != 429:
        return Robots(now, "none")
    if response.status != 200:
        return None
    try:
        body = inflate(response.body, response.headers.get("content-encoding", ""), MOST_BYTES * 20)
    except Malformed:
        return None
    if response.failure or len(body) > MOST_BYTES:
        # A rule cut in two would be another rule.
        body = body[:MOST_BYTES].rpartition(b"\n")[0]
    text = to_utf8(body, response.headers.get("content-type", "")).decode()
    return Robots(now, "rules", text)


def allowed_by(robots: Robots, user_agent: str) -> Callable[[str], bool]:
    """Whether this agent may ask a URL of that host.

    Its product token decides whose rules hold (RFC 9309, 2.2.1): neither its version nor its contact, in
    which another's name may stand.
    """
    if robots.kind == "none":
        return lambda _url: True
    rules = _parsed(robots.text)
    token = _TOKEN.match(user_agent)
    product = token[0] if token is not None else "*"
    return lambda url: bool(rules.can_fetch(url, product))


@lru_cache(maxsize=4)  # a large file takes half a second, and every batch needs it
def _parsed(text: str) -> Protego:
    # A group for «serpline/1.0» is one for serpline; the library would look for the whole of it.
    return Protego.parse(_NAMED.sub(r"\1", text))
