"""What a kombu transport must offer a queue: put, draw, drop, size. The promises on top are kombu.py's.

Two things are left to each wire because brokers do them better than a consumer could. A delayed parcel
rests in the broker, not in a consumer's hands: it blocks nobody, whoever is free when it is due gets it,
and it loses no receive when a consumer dies. And a draw moves messages to the consumer without a
moment in which they are nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import msgspec

RECEIVES = "serpline-receives"
REASON = "serpline-reason"


class Parcel(msgspec.Struct, frozen=True):
    """A message as stored: its body, the deliveries it has used up, and why it was buried."""

    body: bytes
    receives: int = 0
    reason: str = ""

    @property
    def headers(self) -> dict[str, Any]:
        """What travels beside the body."""
        headers: dict[str, Any] = {RECEIVES: self.receives}
        return headers | {REASON: self.reason} if self.reason else headers


class Drawn(msgspec.Struct, frozen=True):
    """A parcel that the broker keeps until it is dropped; ``redelivered``: a consumer had it and died."""

    parcel: Parcel
    tag: Any
    redelivered: bool


def parcel_from(body: bytes, headers: Mapping[str, Any]) -> Parcel:
    """The parcel of a body and its headers; a message that others sent has none of ours."""
    receives, reason = headers.get(RECEIVES, 0), headers.get(REASON, "")
    return Parcel(body, receives if isinstance(receives, int) else 0, str(reason))


class Wire(Protocol):
    """One connection to one broker. Raises what ``errors`` names, and is of no use after that."""

    errors: ClassVar[tuple[type[Exception], ...]]

    tags_last: ClassVar[bool]
    """Whether a tag is still good on the next connection."""

    def __init__(self, url: str, visibility: float) -> None:
        """Connect now; ``visibility`` is how long a consumer may hold a parcel, where the broker asks."""

    def put(self, queue: str, parcels: Sequence[Parcel], delay: float = 0.0) -> None:
        """Store the parcels; they can be drawn after ``delay`` seconds. Returning means stored."""

    def draw(self, queue: str, most: int, wait: float) -> list[Drawn]:
        """Up to ``most`` parcels that are due, waiting at most ``wait`` seconds for the first one."""

    def holds(self, tag: Any) -> bool:
        """Whether the broker still waits for us to settle this one, and has not given it to others."""

    def drop(self, tags: Sequence[Any]) -> None:
        """Forget these drawn parcels."""

    def size(self, queue: str) -> int:
        """How many parcels wait, the delayed ones included."""

    def close(self) -> None:
        """End the connection; what was drawn and not dropped goes back, at once or in time."""
