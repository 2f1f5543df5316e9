"""Where a host is: open to the world, in a private network, on this machine, or where nothing is asked."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

Place = Literal["public", "private", "machine", "closed"]

_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.IGNORECASE)
"""A host that a resolver reads as a number (``2130706433``, ``0177.0.0.1``, ``127.1``), as browsers tell."""

_CLOSED = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # «this host»: Linux connects it to itself
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "192.0.0.0/24",  # protocol assignments; the metadata of one cloud
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "100.100.100.200/32",  # the metadata of one cloud
        "168.63.129.16/32",  # the host agent of one cloud
        "fd00:ec2::/32",  # AWS's own services, metadata among them
        "fd20:ce::/32",  # Google's
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def place_of(address: str) -> Place:
    """Where an IP address is; ``closed`` for link-local, metadata, reserved and what is no address.

    An IPv4 address inside an IPv6 one (mapped, NAT64, 6to4, Teredo) counts as itself.
    """
    try:
        found = _inner(ip_address(address))
    except ValueError:
        return "closed"
    if found.is_loopback:
        return "machine"
    if any(found.version == network.version and found in network for network in _CLOSED):
        return "closed"
    if found.is_link_local or found.is_multicast or found.is_reserved or found.is_unspecified:
        return "closed"
    # What sites once had for themselves (fec0::/10), which some releases of Python call global.
    inside = isinstance(found, IPv6Address) and found.is_site_local
    return "public" if found.is_global and not inside else "private"


@lru_cache(maxsize=1024)  # asked again for every request
def place_named(host: str) -> Place | None:
    """Where a host is that says so itself: an address, a number, ``localhost``; None for other names."""
    if host.lower() == "localhost":
        return "machine"
    try:
        ip_address(host)
    except ValueError:
        return "closed" if _NUMERIC.fullmatch(host) else None
    return place_of(host)


def may_connect(host: str, address: str, *, private_hosts: bool) -> bool:
    """Whether a source may be asked at an address that its host has.

    This machine takes a host that says so itself, or ``private_hosts``; a private network that permission.
    """
    place = place_of(address)
    if place == "machine":
        return private_hosts or place_named(host) == "machine"
    return place == "public" or (place == "private" and private_hosts)


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        return address.sixtofour
    return address.teredo[1] if address.teredo is not None else address
