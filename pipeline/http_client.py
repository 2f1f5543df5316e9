"""Where the wire begins: one request sent, one response within its limits, no redirects followed.

Bodies come as they went over the wire; ``stages.body`` inflates them, with the limit in hand.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from stages.echo import spellings, without_secrets
from stages.hosts import may_connect, place_named
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


class PrivateAddress(OSError):
    """A host has no address but those that the source may not be asked at."""


class GuardedResolver(AbstractResolver):
    """The system's answers without addresses of private networks, this machine and reserved ones.

    What this gives is what is connected to, so a name whose answer changes is judged by the answer used.
    """

    def __init__(self, *, private_hosts: bool, resolver: AbstractResolver | None = None) -> None:
        """Needs the running loop. ``resolver`` takes the system's place."""
        self._private_hosts = private_hosts
        self._resolver = resolver if resolver is not None else ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host; raises ``PrivateAddress`` where none of them may be asked."""
        found = await self._resolver.resolve(host, port, family)
        kept = [one for one in found if may_connect(host, one["host"], private_hosts=self._private_hosts)]
        if found and not kept:
            raise PrivateAddress(f"{host} has private addresses only")
        return kept

    async def close(self) -> None:
        """Give back what the resolver holds."""
        await self._resolver.close()


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
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def send(self, request: Request, limits: Limits) -> Response:
        """Send one request. A failure below HTTP is a ``Response`` with ``failure``, never an exception."""
        if self._session is None:
            self._session = _session(
                GuardedResolver(private_hosts=self._private_hosts, resolver=self._resolver)
            )
        timeout = self._timeouts.setdefault(limits.timeout, aiohttp.ClientTimeout(total=limits.timeout))
        started = time.perf_counter()
        failure, status, headers, body = "", 0, {}, b""
        try:
            url = URL(request.url, encoded=True)
            self._check_host(url.host if url.host is not None else "")
            async with self._session.request(
                request.method,
                url,
                headers=self._headers(request),
                data=request.body,
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                status = response.status
                headers = {name.lower(): value for name, value in response.headers.items()}
                body, whole = await _read(response, limits.bytes, request.enough)
                failure = "" if whole else "too_large"
        except TimeoutError:
            failure = "timeout"
        except aiohttp.ClientPayloadError:
            failure = "cut_short"
        except PrivateAddress:
            failure = "private_address"
        except aiohttp.ClientConnectorDNSError as error:
            failure = "private_address" if isinstance(error.os_error, PrivateAddress) else "dns"
        except (aiohttp.ClientConnectionError, OSError):
            failure = "connection"
        except (aiohttp.ClientError, ValueError):
            failure = "not_http"
        latency_ms = round((time.perf_counter() - started) * 1000)
        answer = Response(status, headers, body, request.url, latency_ms, failure)
        return without_secrets(answer, self._spellings, limits.bytes) if self._spellings else answer

    def _check_host(self, host: str) -> None:
        """An address in the URL itself is seen by no resolver. Raises ``PrivateAddress``."""
        place = place_named(host)
        if place == "closed" or (place == "private" and not self._private_hosts):
            raise PrivateAddress(f"{host} is a private address")

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


def _session(resolver: AbstractResolver) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, resolver=resolver),
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
