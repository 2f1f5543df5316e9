"""What a disk's errors and SQLite's mean, in one sentence that says what to do.

All of them are the operator's to mend and none is any message's fault: what is queued waits.
"""

from __future__ import annotations

import errno

from pipeline.errors import CatalogUnavailable, DiskFull, StorageUnavailable, Unavailable

LONGEST = 200
"""Characters of a driver's own text that are repeated."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def of_disk(error: OSError, what: str) -> StorageUnavailable:
    """What it means for ``what``, as in ``the lake``."""
    # pyarrow does not give every error its number.
    if error.errno in _FULL or "No space left" in str(error):
        return DiskFull(f"the disk of {what} is full: make room and run again")
    said = " ".join(str(error.strerror or error).split())[:LONGEST]
    if error.errno in _DENIED:
        return StorageUnavailable(
            f"{what} cannot be used ({said}): give this user the right to read and write there, "
            "or mount its disk writable; then run again"
        )
    if error.errno == errno.EFBIG:
        return StorageUnavailable(
            f"a file of {what} may not grow as it must ({said}): raise the limit (`ulimit -f`) and run again"
        )
    return StorageUnavailable(f"{what}: {said}")


def of_sqlite(error: Exception) -> Unavailable:
    """What an error of SQLAlchemy's means for a lake's catalog."""
    cause = getattr(error, "orig", None) or error
    # SQLAlchemy's own text has the statement and an address below the first line.
    said = " ".join(str(cause).split())[:LONGEST]
    name = getattr(cause, "sqlite_errorname", "") or ""
    if name == "SQLITE_READONLY_DBMOVED":
        return CatalogUnavailable(
            "the catalog was moved or deleted while it was in use, and takes nothing more: put "
            "catalog.sqlite3 back into the lake and run again"
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_CANTOPEN")):
        return CatalogUnavailable(
            f"the catalog cannot be opened or written ({said}): give this user the right to write the lake's "
            "folder and its catalog.sqlite3, or mount its disk writable; then run again"
        )
    if name == "SQLITE_FULL":
        return DiskFull("the disk of the catalog is full: make room and run again")
    if name.startswith("SQLITE_IOERR"):
        return StorageUnavailable(
            f"the disk of the catalog failed ({said}): see that it has room and is sound, then run again"
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return CatalogUnavailable(f"another process holds the catalog ({said}): try again in a moment")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return CatalogUnavailable(
            f"the catalog is damaged ({said}): put a copy of catalog.sqlite3 back into the lake, or move the "
            "damaged one away and run again: the tables are then found by their files"
        )
    if "no such table" in said:
        return CatalogUnavailable(
            f"the catalog was replaced by another file ({said}): put catalog.sqlite3 back into the lake, or "
            "move it away and run again: the tables are then found by their files"
        )
    return CatalogUnavailable(f"the catalog did not answer ({said}): try again in a moment")
