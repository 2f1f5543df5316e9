"""What every storage promises: objects by key, whole or not at all, and writes that lose honestly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol


class Storage(Protocol):
    """Objects by key. Raises ``StorageUnavailable`` where the storage fails, ``ObjectMissing`` for none."""

    def get(self, key: str) -> bytes:
        """The whole object."""

    def find(self, key: str) -> bytes | None:
        """The whole object, or None where there is none."""

    def open(self, key: str) -> BinaryIO:
        """The object as a seekable stream; the caller closes it."""

    def size(self, key: str) -> int:
        """Bytes of the object."""

    def put(self, key: str, body: bytes) -> None:
        """Write the object, whatever was there."""

    def put_new(self, key: str, body: bytes) -> bool:
        """Write the object only where there is none; False where another was first."""

    def put_file(self, key: str, source: BinaryIO) -> None:
        """Write the object from a stream."""

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with ``prefix``, in order."""

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
