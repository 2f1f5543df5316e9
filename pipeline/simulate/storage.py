"""Storage as one life of a process has it, over objects that all of them share, every version kept."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

from pipeline import keys
from pipeline.errors import ObjectMissing, StorageUnavailable
from pipeline.simulate.faults import Faults, Life, Violation
from pipeline.storage.protocol import check_key


class Bucket:
    """What all lives share: objects by key. A dropped file keeps its versions; other objects have one."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.versions: dict[tuple[str, str], bytes] = {}
        self.latest: dict[str, str] = {}

    def write(self, key: str, body: bytes) -> str:
        """Put an object and give its version."""
        check_key(key)
        if key in self.objects and key.startswith(keys.RUNS) and key.endswith("/run.json"):
            raise Violation(f"the frozen run {key} was written a second time")
        if key.startswith(keys.STAGING) and self.objects.get(key, body) != body:
            raise Violation(f"the staged object {key} was written over by another")
        self.objects[key] = body
        version = f"v{len(self.versions) + 1}"
        if key.startswith((keys.KEYWORDS, keys.LISTS)):
            self.versions[key, version] = body
            self.latest[key] = version
        return version


class SimulatedStorage:
    """The bucket, in one life."""

    def __init__(
        self, bucket: Bucket, faults: Faults, life: Life, writing: Callable[[str], Callable[[], None]]
    ) -> None:
        """``writing`` is told the key of an object that is to be written; what it gives is called if it was.

        That is, where there was none.
        """
        self._bucket = bucket
        self._faults = faults
        self._life = life
        self._writing = writing

    def get(self, key: str) -> bytes:
        """The whole object."""
        found = self.find(key)
        if found is None:
            raise ObjectMissing(f"there is no object {key}", key=key)
        return found

    def find(self, key: str) -> bytes | None:
        """The whole object, or None where there is none."""
        check_key(key)
        self._faults.look(self._life, key, StorageUnavailable)
        return self._bucket.objects.get(key)

    def open(self, key: str, *, version: str = "") -> BinaryIO:
        """The object as a stream."""
        return io.BytesIO(self._read(key, version))

    def size(self, key: str, *, version: str = "") -> int:
        """Bytes of the object."""
        return len(self._read(key, version))

    def version_of(self, key: str) -> str:
        """The version of the object as it is now."""
        self._read(key, "")
        return self._bucket.latest.get(key, "")

    def put(self, key: str, body: bytes) -> None:
        """Write the object, whatever was there."""
        made = self._writing(key)

        def write() -> None:
            fresh = key not in self._bucket.objects
            self._bucket.write(key, body)
            if fresh:
                made()

        self._faults.effect(self._life, "put", key, write, StorageUnavailable)

    def put_new(self, key: str, body: bytes) -> bool:
        """Write the object where there is none; False also where a reply of this very write was lost."""
        made = self._writing(key)

        def write() -> bool:
            if self._faults.happens(self._faults.weather.conflict):
                self._faults.note(self._life.name, "conflict", key)
                raise StorageUnavailable("simulated: others write it all the time")
            if key in self._bucket.objects:
                return False
            self._bucket.write(key, body)
            made()
            return not self._faults.happens(self._faults.weather.lost_reply)

        return self._faults.effect(self._life, "put_new", key, write, StorageUnavailable)

    def put_file(self, key: str, source: BinaryIO) -> None:
        """Write the object from a stream."""
        self.put(key, source.read())

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with ``prefix``, in the order of their UTF-8 bytes."""
        self._faults.look(self._life, prefix, StorageUnavailable)
        yield from sorted(key for key in self._bucket.objects if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""

        def remove() -> None:
            self._bucket.objects.pop(key, None)

        self._faults.effect(self._life, "delete", key, remove, StorageUnavailable)

    def _read(self, key: str, version: str) -> bytes:
        check_key(key)
        self._faults.look(self._life, key, StorageUnavailable)
        found = self._bucket.versions.get((key, version)) if version else self._bucket.objects.get(key)
        if found is None:
            raise ObjectMissing(f"there is no object {key} of version {version!r}", key=key)
        return found
