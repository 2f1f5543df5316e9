"""Files of a table that count what is done to them, and kill the process at the chosen effect."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from sqlalchemy import URL

from pipeline.iceberg import NAMESPACE


class Killed(BaseException):
    """The process is gone; no ``except Exception`` may catch that."""


class Killer:
    """Counts effects and kills at the chosen one, before or after it happened; what follows dies too."""

    def __init__(self) -> None:
        # The library writes manifests in threads.
        self._lock = threading.Lock()
        self.arm(-1, after=False)

    def arm(self, at: int, *, after: bool) -> None:
        """Choose; what happened before is forgotten."""
        self._at, self._after, self._begun, self._ended, self._dead = at, after, 0, 0, False

    def before(self) -> None:
        """An effect is about to happen."""
        with self._lock:
            self._begun += 1
            self._dead = self._dead or (self._begun == self._at and not self._after)
            if self._dead:
                raise Killed

    def done(self) -> None:
        """It happened."""
        with self._lock:
            self._ended += 1
            self._dead = self._dead or (self._ended == self._at and self._after)
            if self._dead:
                raise Killed


KILLER = Killer()
"""The library makes its files' object by name, so that nothing can be handed to it."""


class _Stream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if not self._stream.closed:
            self._stream.close()
            KILLER.done()


class _Output(PyArrowFile):
    def create(self, overwrite: bool = False) -> Any:  # noqa: FBT001, FBT002  # the library's own
        KILLER.before()
        return _Stream(super().create(overwrite))


class KillingIO(PyArrowFileIO):
    """Every file that is written or deleted is an effect."""

    def new_output(self, location: str) -> PyArrowFile:
        given = super().new_output(location)
        return _Output(location=location, path=given._path, fs=given._filesystem)

    def delete(self, location: Any) -> None:
        KILLER.before()
        super().delete(location)
        KILLER.done()


class KillingCatalog(SqlCatalog):
    """The moment at which the catalog names another state is an effect too, around all of its own."""

    def commit_table(self, *arguments: Any) -> Any:
        KILLER.before()
        answer = super().commit_table(*arguments)
        KILLER.done()
        return answer


def killing_catalog(lake: Path) -> Catalog:
    """The catalog of a lake, over files that count."""
    return KillingCatalog(
        NAMESPACE,
        uri=URL.create("sqlite", database=str(lake / "catalog.sqlite3")).render_as_string(),
        warehouse=f"file://{lake / 'tables'}",
        **{"py-io-impl": "tests.pipeline.killing_io.KillingIO"},
    )
