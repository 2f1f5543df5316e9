"""Compaction of one partition: ``python -m bench.children.compacts MODE LAKE PAGES``.

``prepare`` makes the partition: files of 2,500 pages as commits leave them, each sorted by itself, with
keywords from all over. ``compact`` compacts it, and has the catalog forget that it did. Prints one line of
JSON: CPU seconds and seconds of the compaction alone, peak in MB of the process, files before and after.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import msgspec
import pyarrow as pa

from bench.made_up import PAGES_A_BATCH, staged_batches
from bench.process import peak_megabytes
from pipeline.catalog import Tables
from pipeline.compaction import Compactor
from pipeline.iceberg import open_folder_catalog, open_table, write_data_file
from stages.aggregate import page_batch
from stages.staged import decode_staged, encode_staged
from stages.tables import PAGES

PARTITION = (date(2026, 1, 31), "practice_page", 0)
PAGES_A_FILE = 2_500


def _prepare(lake: Path, pages: int) -> dict[str, float]:
    made = lake / "made"
    if made.exists():
        return {}
    shutil.rmtree(lake, ignore_errors=True)
    lake.mkdir(parents=True)
    catalog = open_folder_catalog(lake)
    Tables(catalog).create()
    table = open_table(catalog, PAGES)
    files = [
        write_data_file(table, PAGES, rows, PARTITION, sort=("keyword", "page")) for rows in _files(pages)
    ]
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        for file in files:
            append.append_data_file(file)
    made.touch()
    return {}


def _files(pages: int) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    for batch, answered in staged_batches(pages // PAGES_A_BATCH):
        waiting.append(page_batch(decode_staged(encode_staged(batch, answered, lane=""))))
        if len(waiting) * PAGES_A_BATCH >= PAGES_A_FILE:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _compact(lake: Path, _pages: int) -> dict[str, float]:
    compactor = Compactor(open_folder_catalog(lake), lake)
    where = "SELECT metadata_location FROM iceberg_tables WHERE table_name = 'pages'"
    with closing(sqlite3.connect(lake / "catalog.sqlite3")) as connection:
        [(before,)] = connection.execute(where).fetchall()
    started, cpu = time.perf_counter(), time.process_time()
    [done] = next(iter(compactor.compact())).partitions
    spent, used = time.perf_counter() - started, time.process_time() - cpu
    with closing(sqlite3.connect(lake / "catalog.sqlite3")) as connection, connection:
        connection.execute(
            "UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = 'pages'", (before,)
        )
    return {"cpu": used, "seconds": spent, "files": done.files, "after": done.files_after}


if __name__ == "__main__":
    modes = {"prepare": _prepare, "compact": _compact}
    done = modes[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    print(msgspec.json.encode({**done, "peak": peak_megabytes()}).decode())
