"""A table under one commit a minute for days, with compaction and expiry in between as they are scheduled.

A minute passes with each commit, however long it took: what is kept for a day is what as many commits
made as a day has minutes. ``python -m tests.pipeline.commit_days`` goes through two whole days, compacted
each hour, prints what the table is at the end of each, and fails where the second one added to it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pipeline.compaction import Compactor
from pipeline.expiry import local_folder
from pipeline.iceberg import NAMESPACE, open_folder_catalog
from tests.pipeline.test_catalog import open_tables, staged


class Grown(msgspec.Struct, frozen=True):
    """What a table's metadata are: files of each kind in its folder, their bytes, and what it remembers."""

    states: int
    """Metadata files."""

    manifests: int
    """Manifests and lists of them."""

    bytes: int
    newest_bytes: int
    """Of the metadata file that each commit reads and writes."""

    snapshots: int
    live_manifests: int
    """Those that a query of the newest snapshot reads."""

    data_files: int


def commit_days(lake: Path, *, days: int, minutes: int, every: int) -> Iterator[Grown]:
    """Days of so many minutes, compacted every so many; what the table ``pages`` is at each day's end."""
    tables = open_tables(lake)
    now = time.time()
    # As it stands when a turn begins: however long the turn takes, it keeps the same day.
    compactor = Compactor(open_folder_catalog(lake), lake, clock=lambda: now)
    begun: list[float] = []
    for minute in range(1, days * minutes + 1):
        begun.append(time.time())
        tables.append_pages([staged(minute)])
        if minute % every == 0:
            day_ago = begun[max(0, minute - minutes)]
            now = time.time()
            list(compactor.compact((now - day_ago) / 3600))
        if minute % minutes == 0:
            yield _look(lake)


def _look(lake: Path) -> Grown:
    table = open_folder_catalog(lake).load_table((NAMESPACE, "pages"))
    folder = local_folder(table)
    assert folder is not None
    files = list((folder / "metadata").iterdir())
    newest = table.current_snapshot()
    assert newest is not None
    return Grown(
        states=sum(path.name.endswith(".metadata.json") for path in files),
        manifests=sum(path.suffix == ".avro" for path in files),
        bytes=sum(path.stat().st_size for path in files),
        newest_bytes=len(table.io.new_input(table.metadata_location)),
        snapshots=len(table.metadata.snapshots),
        live_manifests=len(newest.manifests(table.io)),
        data_files=sum(1 for _ in (folder / "data").rglob("*.parquet")),
    )


def grew(before: Grown, after: Grown) -> list[str]:
    """What of a table is more than it was a day before: one file is not, nor a twentieth of the bytes."""
    more = [
        name
        for name in ("states", "manifests", "snapshots", "live_manifests", "data_files")
        if getattr(after, name) > getattr(before, name) + 1
    ]
    return more + [
        name for name in ("bytes", "newest_bytes") if getattr(after, name) > getattr(before, name) * 1.05
    ]


def main() -> int:
    """Two days; 1 if the table is larger after the second."""
    with tempfile.TemporaryDirectory(prefix="serpline-days-") as folder:
        days: list[Grown] = []
        for day in commit_days(Path(folder), days=2, minutes=1440, every=60):
            print(day, flush=True)  # noqa: T201  # a program's answer is what it prints
            days.append(day)
    more = grew(*days)
    print(f"the second day added {', '.join(more) or 'nothing'}")  # noqa: T201
    return 1 if more else 0


if __name__ == "__main__":
    sys.exit(main())
