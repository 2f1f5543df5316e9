"""Where the wire begins: one request sent, one response within its limits, no redirects followed.

Bodies come as they went over the wire; ``stages.body`` inflates them, with the limit in hand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol

import aiohttp
from yarl import URL

from stages.records import Request, Response
from stages.source import Limits
from stages.template import fill_secrets

_BUFFER = 1 << 18
"""Bytes read from a connection at once: a whole results page wakes the loop once or twice."""


class HttpClient(Protocol):
    """The seam between deciding what to ask and asking it."""

    async def send(self, request: Request, limits: Limits) -> Response:
        """Send one request. A failure below HTTP is a ``Response`` with ``failure``, never an exception."""

    async def close(self) -> None:
        """Give back the connections."""


class AiohttpClient:
    """One pool of connections, made on first use in the running loop.

    ``secrets`` by name go into the requests' secret headers here, the last moment before the wire.
    """

    def __init__(self, secrets: Mapping[str, str] | None = None) -> None:
        self._secrets = secrets if secrets is not None else {}
        self._session: aiohttp.ClientSession | None = None
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def send(self, request: Request, limits: Limits) -> Response:
        """Send one request. A failure below HTTP is a ``Response`` with ``failure``, never an exception."""
        if self._session is None:
            self._session = _session()
        timeout = self._timeouts.setdefault(limits.timeout, aiohttp.ClientTimeout(total=limits.timeout))
        started = time.perf_counter()
        failure, status, headers, body = "", 0, {}, b""
        try:
            async with self._session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=self._headers(request),
                data=request.body,
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                status = response.status
                headers = {name.lower(): value for name, value in response.headers.items()}
                body, whole = await _read(response, limits.bytes)
                failure = "" if whole else "too_large"
        except TimeoutError:
            failure = "timeout"
        except aiohttp.ClientPayloadError:
            failure = "cut_short"
        except aiohttp.ClientConnectorDNSError:
            failure = "dns"
        except (aiohttp.ClientConnectionError, OSError):
            failure = "connection"
        except (aiohttp.ClientError, ValueError):
            failure = "not_http"
        latency_ms = round((time.perf_counter() - started) * 1000)
        return Response(status, headers, body, request.url, latency_ms, failure)

    def _headers(self, request: Request) -> dict[str, str]:
        if not request.secret_headers:
            return request.headers
        secret = {name: fill_secrets(text, self._secrets) for name, text in request.secret_headers.items()}
        return request.headers | secret

    async def close(self) -> None:
        """Give back the connections."""
        if self._session is not None:
            await self._session.close()
            # Aiohttp's transports close on the loop's next turns.
            await asyncio.sleep(0)
            self._session = None


def _session() -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=_BUFFER,
        # Proxies come from settings alone; the environment is read in one place.
        trust_env=False,
    )
    # Aiohttp sends a request again when a kept connection breaks: a request that no lease paid for and
    # no attempt counted. There is no public way to say no.
    session._retry_connection = False  # noqa: SLF001
    return session


async def _read(response: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    """The body, and whether it is whole; reading stops beyond ``most`` bytes and the connection closes."""
    if response.content_length is not None and response.content_length > most:
        response.close()
        return b"", False
    pieces: list[bytes] = []
    size = 0
    while piece := await response.content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            response.close()
            return b"", False
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), True
