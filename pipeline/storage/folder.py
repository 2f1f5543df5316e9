"""Objects as files below one folder.

A file appears whole or not at all: it is written beside its place and then linked or renamed there.
``put_new`` is a hard link, which fails where the name exists, on every local file system and NFS.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from pipeline.disk_errors import of_disk
from pipeline.errors import ObjectMissing, Permanent
from pipeline.storage.protocol import check_key

_WRITING = ".writing-"


class FolderStorage:
    """Storage in a folder, which is made when first written to.

    It keeps no versions and takes ``version`` for nothing: what is dropped in a folder gets a key that is
    its own (``keys.dropped``), so a file of the same name dropped again does not replace it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, key: str) -> bytes:
        """The whole object."""
        with self._translated(key):
            return self._path(key).read_bytes()

    def find(self, key: str) -> bytes | None:
        """The whole object, or None where there is none."""
        try:
            return self.get(key)
        except ObjectMissing:
            return None

    def open(self, key: str, *, version: str = "") -> BinaryIO:  # noqa: ARG002  # there is only one
        """The object as a seekable stream; the caller closes it."""
        with self._translated(key):
            return self._path(key).open("rb")

    def size(self, key: str, *, version: str = "") -> int:  # noqa: ARG002  # there is only one
        """Bytes of the object."""
        with self._translated(key):
            return self._path(key).stat().st_size

    def version_of(self, key: str) -> str:
        """None is kept: the object is what it is now."""
        self.size(key)
        return ""

    def put(self, key: str, body: bytes) -> None:
        """Write the object, whatever was there."""
        with self._translated(key), self._written(key) as (file, path):
            file.write(body)
            _settle(file)
            Path(file.name).replace(path)

    def put_new(self, key: str, body: bytes) -> bool:
        """Write the object only where there is none; False where another was first."""
        with self._translated(key), self._written(key) as (file, path):
            file.write(body)
            _settle(file)
            try:
                os.link(file.name, path)
            except FileExistsError:
                return False
        return True

    def put_file(self, key: str, source: BinaryIO) -> None:
        """Write the object from a stream, from where that stands; it stays open."""
        with self._translated(key), self._written(key) as (file, path):
            shutil.copyfileobj(source, file, 1 << 20)
            _settle(file)
            Path(file.name).replace(path)

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with ``prefix``, in the order of their UTF-8 bytes."""
        above = prefix.rpartition("/")[0]
        folder = self._path(above) if above else self._root
        # Sorted as text, as S3 sorts: paths compare folder by folder, and ``a/b`` would come before ``a-b``.
        found = ((path.relative_to(self._root).as_posix(), path) for path in folder.rglob("*"))
        for key, path in sorted(found):
            if key.startswith(prefix) and path.is_file() and not path.name.startswith(_WRITING):
                yield key

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        with self._translated(key):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._root / key

    @contextmanager
    def _written(self, key: str) -> Iterator[tuple[BinaryIO, Path]]:
        """A temporary file beside the key's place, gone afterwards unless it was renamed there."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=_WRITING, delete=False) as file:
            try:
                yield cast("BinaryIO", file), path
            finally:
                Path(file.name).unlink(missing_ok=True)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        # A folder is no object, and below a file there is none.
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ObjectMissing(f"there is no object {key} in {self._root}", key=key) from error
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise Permanent(f"{key[:80]!r}… has a part too long for a file's name: shorten it") from error
            raise of_disk(error, str(self._root)) from error


def _settle(file: BinaryIO) -> None:
    """On the disk before it gets its name: a power cut leaves no name without its content."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
