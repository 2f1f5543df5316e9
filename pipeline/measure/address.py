"""The address by which a function is seen: asked of a URL that the operator named, within narrow bounds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from pipeline.errors import Misuse
from stages.hosts import place_named
from stages.records import Request, Response
from stages.source import Limits

if TYPE_CHECKING:
    from pipeline.http_client import HttpClient
    from pipeline.source_files import LoadedSource

LIMITS = Limits(timeout=5.0, bytes=16_384)
"""Seconds and bytes of an answer. It holds one address."""

_NAMES = ("address", "ip", "origin", "ip_addr", "query")
"""What echo services call it in JSON."""

_ENGINES = re.compile(
    r"(^|\.)(google|bing|duckduckgo|yahoo|yandex|baidu|ecosia|qwant|startpage|naver|seznam|sogou|mojeek|kagi|aol"
    r"|dogpile|lycos|wikipedia|wikimedia|(search|api\.search)\.brave)\."
)
"""What search engines are called, whatever stands before or behind it in a host's name."""

_TOLD = 80
"""Characters of an answer that holds none, as they are shown."""


async def ask_echo(
    client: HttpClient, url: str, user_agent: str, limits: Limits = LIMITS
) -> tuple[str | None, str | None]:
    """The address that the URL tells, or why it tells none. Never raises for what is at the URL."""
    headers = {
        "User-Agent": user_agent,
        "Accept": "application/json, text/plain",
        "Accept-Encoding": "identity",
    }
    response = await client.send(Request("GET", url, headers), limits)
    if response.failure:
        return None, f"the echo URL failed: {response.failure}"
    if response.status != 200:
        return None, f"the echo URL answered with status {response.status}"
    address = address_in(response)
    if address is None:
        said = " ".join(response.body.decode(errors="replace").split())[:_TOLD]
        return None, f"the echo URL's answer is no address: {said!r}"
    return address, None


def address_in(response: Response) -> str | None:
    """The address in an answer: the whole text, or a member of a JSON object that has such a name."""
    text = response.body.decode(errors="replace").strip()
    candidates = [text]
    try:
        said: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        said = None
    if isinstance(said, dict):
        candidates = [str(said[name]) for name in _NAMES if name in said]
    elif isinstance(said, str):
        candidates = [said]
    return next((found for one in candidates if (found := _address(one)) is not None), None)


def check_echo(url: str, contact: str, sources: Mapping[str, LoadedSource], *, local: bool) -> None:
    """Raises ``Misuse`` for what is no echo, for an engine's, and beyond this machine without a contact.

    The practice engine is one's own: its echo is there to be asked. ``local`` is as in ``check_echo_url``.
    """
    check_echo_url(url, local=local)
    host = _host(url)
    for name, loaded in sources.items():
        if not name.startswith("practice_") and _is_one_of(url, loaded.source.hosts):
            raise Misuse(
                f"--echo names {host}, which is the search engine of source {name}: a probe asks none"
            )
    if not contact and place_named(host) != "machine":
        raise Misuse(
            f"{host} is not on this machine: set SERPLINE_CONTACT to a mail address or URL by which its "
            "operators can reach you"
        )


def check_echo_url(url: str, *, local: bool) -> None:
    """Raises ``Misuse`` for what no probe asks, by the URL alone: so a probe itself looks too.

    ``local``: functions run on this machine, as an emulator's do, and can ask it.
    """
    host = _host(url)
    if not host:
        raise Misuse(f"--echo takes a URL such as https://echo.example.org/, not {url!r}")
    if "?" in url or "#" in url:
        raise Misuse("--echo takes a URL without a question: what is behind ? or # could be a search")
    if _ENGINES.search(host):
        raise Misuse(f"--echo names {host}, which is a search engine's: a probe asks none")
    place = place_named(host)
    if place == "closed":
        raise Misuse(f"--echo names {host}, where nothing is asked: name a host that the world can reach")
    if place == "private":
        raise Misuse(
            f"--echo names {host}, in a private network, where a probe asks nothing: name a public host"
        )
    if place == "machine" and not local:
        raise Misuse(f"--echo names {host}, which a function on AWS finds only itself: name a public host")


def is_local(endpoint: str) -> bool:
    """Whether functions run on this machine: their service answers here, as an emulator does."""
    return place_named(urlsplit(endpoint).hostname or "") == "machine"


def _host(url: str) -> str:
    """The host as it is compared: no letter case, no dot at its end; "" for what is no URL of a host."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower().rstrip(".")
        wrong = parts.scheme not in ("http", "https") or parts.username or parts.port == 0
    except ValueError:
        return ""
    return "" if wrong or re.search(r"[\s\x00-\x1f]", url) else host


def _is_one_of(url: str, hosts: Iterable[str]) -> bool:
    """Whether it is one of these hosts: whatever its port in the world, by its port on this machine."""
    if place_named(_host(url)) == "machine":
        return urlsplit(url).netloc.lower() in hosts
    return _host(url) in {_host(f"http://{host}") for host in hosts}


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        return None
