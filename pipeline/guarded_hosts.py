"""Guarded hosts: what a source may not be asked at is refused where it is connected to."""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from stages.hosts import may_connect, place_named


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


def check_host(host: str, *, private_hosts: bool) -> None:
    """An address in the URL itself is seen by no resolver. Raises ``PrivateAddress``."""
    place = place_named(host)
    if place == "closed" or (place == "private" and not private_hosts):
        raise PrivateAddress(f"{host} is a private address")
