"""What every storage promises: objects by key, whole or not at all, and writes that lose honestly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol

from pipeline.errors import Permanent

LONGEST_KEY = 1024
"""Bytes of a key in UTF-8: S3's limit, and so everybody's."""


class Storage(Protocol):
    """Objects by key. Raises ``StorageUnavailable`` where the storage fails, ``ObjectMissing`` for none.

    ``version`` names one exact version of an object that may have been replaced since, where the storage
    keeps versions; "" is the object as it is now.
    """

    def get(self, key: str) -> bytes:
        """The whole object."""

    def find(self, key: str) -> bytes | None:
        """The whole object, or None where there is none."""

    def open(self, key: str, *, version: str = "") -> BinaryIO:
        """The object as a seekable stream, of one version from end to end; the caller closes it."""

    def size(self, key: str, *, version: str = "") -> int:
        """Bytes of the object."""

    def version_of(self, key: str) -> str:
        """The version of the object as it is now; "" where the storage keeps none."""

    def put(self, key: str, body: bytes) -> None:
        """Write the object, whatever was there."""

    def put_new(self, key: str, body: bytes) -> bool:
        """Write the object only where there is none.

        False where one was there: read it, it may be this very write, stored by a try whose answer was lost.
        """

    def put_file(self, key: str, source: BinaryIO) -> None:
        """Write the object from a stream, from where that stands; it stays open."""

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with ``prefix``, in the order of their UTF-8 bytes."""

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""


def check_key(key: str) -> None:
    """Refuse what is no key in every storage. Raises ``Permanent``.

    A key from a message must not lead out of a folder, nor be two objects here and one there.
    """
    segments = key.split("/")
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        length = LONGEST_KEY + 1
    if not key or not segments[0] or "." in segments or ".." in segments or "\0" in key:
        raise Permanent(f"{key!r} is no key of this lake")
    if length > LONGEST_KEY:
        raise Permanent(f"{key[:80]!r}… is no key of this lake: it is not UTF-8, or over {LONGEST_KEY} bytes")
