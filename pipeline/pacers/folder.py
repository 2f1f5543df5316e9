"""Pace states as files of a shared folder: one rate for every process of this machine that uses a lake.

A closed source stays closed over the end of a run, and two runs at once share one rate. The lock is
``flock``, so it holds between processes of one machine (not over NFS: use another store there).
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline import keys
from pipeline.disk_errors import of_disk
from pipeline.errors import StorageUnavailable
from stages.pace import PaceState

_Answer = TypeVar("_Answer")
_decoder = msgspec.json.Decoder(PaceState)


class FolderPaceStore:
    """States in ``pace/`` below a lake; safe for threads and processes."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._thread_lock = threading.Lock()

    def read(self, source: str) -> PaceState:
        """The state now."""
        try:
            return _decoder.decode(self._path(source).read_bytes())
        except FileNotFoundError:
            return PaceState()
        except (OSError, msgspec.DecodeError) as error:
            raise StorageUnavailable(
                f"the pace in {self._path(source)} cannot be read ({error}): remove the file if it is damaged"
            ) from error

    def change(self, source: str, how: Callable[[PaceState], tuple[PaceState, _Answer]]) -> _Answer:
        """Replace the state by what ``how`` makes of it."""
        with self._thread_lock, self._locked(source) as path:
            before = self.read(source)
            after, answer = how(before)
            if after != before:
                # Renamed into place: a process that dies here leaves the old state, never half of one.
                written = path.with_suffix(".new")
                try:
                    with written.open("wb") as file:
                        file.write(msgspec.json.encode(after))
                        file.flush()
                        os.fsync(file.fileno())
                    written.replace(path)
                except OSError as error:
                    written.unlink(missing_ok=True)
                    raise of_disk(error, str(path)) from error
            return answer

    def _path(self, source: str) -> Path:
        return self._lake / keys.pace(source)

    @contextmanager
    def _locked(self, source: str) -> Iterator[Path]:
        path = self._path(source)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.with_suffix(".lock").open("w")
        except OSError as error:
            raise of_disk(error, str(path)) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield path
