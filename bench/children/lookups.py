"""Look-ups in a partition of many pages: ``python -m bench.children.lookups MODE LAKE PAGES LAYOUT``.

``prepare`` makes the partition: files of as many pages as compaction's have, in row groups as they are
written, of the columns that a look-up reads; the others are NULL. Layout ``spread``: every file holds batches
of everywhere; ``ordered``: those of its time. ``near`` looks for batches that follow each other, ``far`` for
as many from one end of the run to the other, as a redrive brings them: half of them are there. Prints one
line of JSON: seconds and CPU seconds of the look, peak in MB, batches found, and wrong ones.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import msgspec
import pyarrow as pa

from bench.made_up import PAGES_A_BATCH
from bench.process import peak_megabytes
from pipeline.catalog import Tables
from pipeline.iceberg import open_folder_catalog, open_table, write_data_file
from stages.records import BatchId
from stages.tables import PAGES

RUN, DAY, SOURCE = "made-up", "2026-01-31", "practice_page"
PAGES_A_FILE = 320_000
"""In a file of 256 MB: a page is about 0.8 kB in ``bench.lookup``'s."""

ASKED = 300
"""Batches of one commit."""

_SCATTER = 1_000_000_007
"""A prime above every number of pages: multiplying by it visits each page once."""


def _prepare(lake: Path, pages: int, layout: str) -> dict[str, float]:
    made = lake / f"{pages}.made"
    if made.exists():
        return {}
    shutil.rmtree(lake, ignore_errors=True)
    lake.mkdir(parents=True)
    catalog = open_folder_catalog(lake)
    Tables(catalog).create()
    table = open_table(catalog, PAGES)
    files = [
        write_data_file(table, PAGES, rows, (date.fromisoformat(DAY), SOURCE, 0))
        for rows in _rows(pages, layout)
    ]
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        for file in files:
            append.append_data_file(file)
    made.touch()
    return {}


def _rows(pages: int, layout: str) -> Iterator[pa.Table]:
    same = {"run_id": RUN, "part": 0, "cut": 0, "run_date": date.fromisoformat(DAY), "source": SOURCE}
    for first in range(0, pages, PAGES_A_FILE):
        count = min(pages - first, PAGES_A_FILE)
        if layout == "spread":
            places = (at * _SCATTER % pages for at in range(first, first + count))
        else:
            places = (first + at * _SCATTER % count for at in range(count))
        # Batches are even numbers: every odd one is missing.
        numbers = [place // PAGES_A_BATCH * 2 for place in places]
        yield pa.table(
            [
                pa.array(numbers, field.type)
                if field.name == "batch_no"
                else pa.repeat(pa.scalar(same.get(field.name), field.type), len(numbers))
                for field in PAGES.schema
            ],
            schema=PAGES.schema,
        )


def _look(lake: Path, first: int, step: int) -> dict[str, float]:
    tables = Tables(open_folder_catalog(lake))
    ids = [BatchId(RUN, 0, first + at * step, 0) for at in range(ASKED)]
    started, cpu = time.perf_counter(), time.process_time()
    found = tables._batches_there(tables._fresh(PAGES), (DAY, SOURCE, 0), ids)  # noqa: SLF001  # the look alone
    spent, used = time.perf_counter() - started, time.process_time() - cpu
    right = {one for one in ids if one.batch_no % 2 == 0}
    return {"seconds": spent, "cpu": used, "found": len(found & right), "wrong": len(found ^ right)}


def _near(lake: Path, pages: int, _layout: str) -> dict[str, float]:
    return _look(lake, pages // PAGES_A_BATCH, 1)


def _far(lake: Path, pages: int, _layout: str) -> dict[str, float]:
    # An odd step: every other one is an even number.
    return _look(lake, 0, (pages // PAGES_A_BATCH * 2 // ASKED - 1) | 1)


if __name__ == "__main__":
    modes = {"prepare": _prepare, "near": _near, "far": _far}
    done = modes[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    print(msgspec.json.encode({"peak": peak_megabytes(), **done}).decode())
