"""Where the wire begins: one request sent, one response within its limits, no redirects followed.

Bodies come as they went over the wire; ``stages.body`` inflates them, with the limit in hand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Protocol

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from pipeline.guarded_hosts import GuardedResolver, PrivateAddress, check_host
from stages.echo import spellings, without_secrets
from stages.records import Request, Response
from stages.source import Limits
from stages.template import fill_secrets

_BUFFER = 1 << 18
"""Bytes read from a connection at once: a whole results page wakes the loop once or twice."""


Slot = Callable[[], Awaitable[bool]]
"""Waits for the moment at which a request may leave; False where it may not leave any more."""


class HttpClient(Protocol):
    """The seam between deciding what to ask and asking it."""

    async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
        """Send one request. A failure below HTTP is a ``Response`` with ``failure``, never an exception.

        ``slot`` is asked once the connection is there, right before anything is sent: nothing is sent and
        the failure is ``late`` where it says no. The connection is kept for the next request.
        """

    async def close(self) -> None:
        """Give back the connections."""


class _Late(Exception):
    """The slot of a request passed while its connection was made."""


_leaving: ContextVar[Slot | None] = ContextVar("_leaving", default=None)
"""Asked before the request of this task goes over its connection."""


class _Connector(aiohttp.TCPConnector):
    """Asks whether a request may still leave when its connection is there, be it new or kept.

    Names, handshakes and TLS take as long as they take; what they made late would bunch up with the next.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # the library's name and meaning
    ) -> Connection:
        """A connection that the request may use now. Raises ``_Late`` where it may not any more."""
        connection = await super().connect(req, traces, timeout)
        leave = _leaving.get()
        try:
            if leave is None or await leave():
                return connection
        except BaseException:
            connection.close()
            raise
        connection.release()
        raise _Late


class AiohttpClient:
    """One pool of connections, made on first use in the running loop.

    ``secrets`` by name go into the requests' secret headers here, the last moment before the wire, and
    out of answers that repeat them here, the first moment after it. ``private_hosts`` allows addresses of
    private networks, ``resolver`` finds the addresses instead of the system.
    """

    def __init__(
        self,
        secrets: Mapping[str, str] | None = None,
        *,
        private_hosts: bool = False,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._secrets = secrets if secrets is not None else {}
        self._spellings = spellings(self._secrets.values())
        self._private_hosts = private_hosts
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
        """Send one request. A failure below HTTP is a ``Response`` with ``failure``, never an exception.

        Making the connection may take ``limits.timeout``, and the answer, from when the request left, too.
        """
        heard = _Heard(time.perf_counter())
        try:
            async with asyncio.timeout(limits.timeout) as bound:

                async def leave() -> bool:
                    bound.reschedule(None)
                    left = slot is None or await slot()
                    heard.began = time.perf_counter()
                    bound.reschedule(asyncio.get_running_loop().time() + limits.timeout)
                    return left

                _leaving.set(leave)
                await self._exchange(request, limits, heard)
        except (_Late, aiohttp.ClientError, OSError, ValueError) as error:
            heard.failure = _failure(error)
        latency_ms = round((time.perf_counter() - heard.began) * 1000)
        answer = Response(heard.status, heard.headers, heard.body, request.url, latency_ms, heard.failure)
        return without_secrets(answer, self._spellings, limits.bytes) if self._spellings else answer

    async def _exchange(self, request: Request, limits: Limits, heard: _Heard) -> None:
        """Send and read; what came before something fails is heard all the same."""
        if self._session is None:
            self._session = _session(
                GuardedResolver(private_hosts=self._private_hosts, resolver=self._resolver)
            )
        url = URL(request.url, encoded=True)
        check_host(url.host if url.host is not None else "", private_hosts=self._private_hosts)
        async with self._session.request(
            request.method,
            url,
            headers=self._headers(request),
            data=request.body,
            allow_redirects=False,
        ) as response:
            heard.status = response.status
            heard.headers = {name.lower(): value for name, value in response.headers.items()}
            heard.body, whole = await _read(response, limits.bytes, request.enough)
            heard.failure = "" if whole else "too_large"

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


class _Heard(msgspec.Struct):
    """What is known of an answer so far, and when its request left."""

    began: float
    status: int = 0
    headers: dict[str, str] = {}
    body: bytes = b""
    failure: str = ""


def _failure(error: Exception) -> str:
    """The name of what went wrong below HTTP; the first that fits."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "private_address" if isinstance(error.os_error, PrivateAddress) else "dns"
    names: tuple[tuple[str, type[Exception] | tuple[type[Exception], ...]], ...] = (
        ("late", _Late),
        ("timeout", TimeoutError),
        ("cut_short", aiohttp.ClientPayloadError),
        ("private_address", PrivateAddress),
        ("connection", (aiohttp.ClientConnectionError, OSError)),
    )
    return next((name for name, kind in names if isinstance(error, kind)), "not_http")


def _session(resolver: AbstractResolver) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        auto_decompress=False,
        connector=_Connector(limit=0, ttl_dns_cache=300, resolver=resolver),
        # Each request has its own bound, which begins anew when it leaves.
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=_BUFFER,
        # Proxies come from settings alone; the environment is read in one place.
        trust_env=False,
    )
    # Aiohttp sends a request again when a kept connection breaks: a request that no lease paid for and
    # no attempt counted. There is no public way to say no.
    session._retry_connection = False  # noqa: SLF001
    return session


async def _read(response: aiohttp.ClientResponse, most: int, enough: int) -> tuple[bytes, bool]:
    """The body, and whether it is whole; reading stops beyond ``most`` bytes and the connection closes.

    Where a beginning is ``enough`` that many bytes are read instead, and given.
    """
    most = enough if enough else most
    if not enough and response.content_length is not None and response.content_length > most:
        response.close()
        return b"", False
    pieces: list[bytes] = []
    size = 0
    while piece := await response.content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            response.close()
            return (b"".join(pieces)[:enough], False) if enough else (b"", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), True
