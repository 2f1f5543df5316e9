"""Commits to a table with a long history: ``python -m bench.children.commits MODE LAKE NUMBER``.

``prepare`` makes a table of so many snapshots: ten commits, and before them copies of the first one's
snapshot, a minute apart, as the table would remember them. ``commit`` commits a batch so many times through
the real protocol (look, file, append), each on the state that ``prepare`` or ``expire`` left. ``expire``
forgets what is older than a day. Prints one line of JSON: snapshots, bytes of the metadata file,
milliseconds at p50 and p99, and of CPU at p50.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import msgspec
from pyiceberg.catalog import Catalog
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot, SnapshotLogEntry

from bench.made_up import staged_batches
from pipeline.catalog import Tables
from pipeline.expiry import expire_snapshots
from pipeline.iceberg import open_folder_catalog, open_table
from stages.records import Batch
from stages.staged import Staged, decode_staged, encode_staged
from stages.tables import PAGES

REAL = 10
MINUTE, DAY = 60_000, 86_400


def _staged(batch_no: int) -> Staged:
    """A batch of ten pages."""
    [(batch, pages)] = staged_batches(1)
    own: Batch = msgspec.structs.replace(batch, batch_no=batch_no, tasks=batch.tasks[:10])
    return decode_staged(encode_staged(own, pages[:10], lane=""))


def _prepare(lake: Path, snapshots: int) -> Table:
    shutil.rmtree(lake, ignore_errors=True)
    catalog = open_folder_catalog(lake)
    tables = Tables(catalog)
    tables.create()
    for number in range(REAL):
        tables.append_pages([_staged(number)])
    table = open_table(catalog, PAGES)
    return _remembering(catalog, table, snapshots - REAL) if snapshots > REAL else table


def _remembering(catalog: Catalog, table: Table, more: int) -> Table:
    metadata = table.metadata
    first = metadata.snapshots[0]
    earlier = [_copy(first, ago) for ago in range(more, 0, -1)]
    log = [SnapshotLogEntry(snapshot_id=one.snapshot_id, timestamp_ms=one.timestamp_ms) for one in earlier]
    long = metadata.model_copy(
        update={
            "snapshots": [*earlier, *metadata.snapshots],
            "snapshot_log": [*log, *metadata.snapshot_log],
        }
    )
    number = len(metadata.metadata_log) + 1
    location = f"{table.location()}/metadata/{number:05}-{uuid4()}.metadata.json"
    ToOutputFile.table_metadata(long, table.io.new_output(location))
    catalog.drop_table(table.name())
    return catalog.register_table(table.name(), location)


def _copy(first: Snapshot, ago: int) -> Snapshot:
    """A snapshot of its own, so many minutes and more than two days before the first."""
    at = first.timestamp_ms - 2 * DAY * 1000 - ago * MINUTE
    return first.model_copy(update={"snapshot_id": uuid4().int >> 65, "timestamp_ms": at})


def _expire(lake: Path, _number: int) -> Table:
    table = open_table(open_folder_catalog(lake), PAGES)
    expire_snapshots(table, time.time() - DAY)
    return table.refresh()


def _commit(lake: Path, times: int) -> dict[str, float]:
    tables = Tables(open_folder_catalog(lake))
    before = _location(lake)
    took, used = [], []
    for number in range(times):
        staged = [_staged(REAL + number)]
        started, cpu = time.perf_counter(), time.process_time()
        done = tables.append_pages(staged)
        took.append((time.perf_counter() - started) * 1000)
        used.append((time.process_time() - cpu) * 1000)
        assert done.pages == 10, done  # noqa: S101  # it is no commit else
        # Back to the state before, so that each has the same history.
        _location(lake, before)
    # What is imported and opened for the first is no part of it.
    took, used = sorted(took[1:]), sorted(used[1:])
    return {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100], "cpu": used[len(used) // 2]}


def _location(lake: Path, wanted: str = "") -> str:
    """Which metadata file the catalog names, or another from here on."""
    with closing(sqlite3.connect(lake / "catalog.sqlite3")) as connection, connection:
        if wanted:
            connection.execute(
                "UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = ?", (wanted, PAGES.name)
            )
        [(location,)] = connection.execute(
            "SELECT metadata_location FROM iceberg_tables WHERE table_name = ?", (PAGES.name,)
        ).fetchall()
    return str(location)


def _told(table: Table) -> dict[str, float]:
    size = len(table.io.new_input(table.metadata_location))
    return {"snapshots": len(table.metadata.snapshots), "bytes": size}


if __name__ == "__main__":
    mode, lake, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    made = {"prepare": _prepare, "expire": _expire}
    done = _commit(lake, number) if mode == "commit" else _told(made[mode](lake, number))
    print(msgspec.json.encode(done).decode())
