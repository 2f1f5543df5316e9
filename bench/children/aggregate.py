"""Staged objects to committed Parquet: ``python -m bench.children.aggregate MODE LAKE BATCHES``.

``prepare`` stages made-up batches in a lake; ``step`` commits them through the real aggregate step, as
a worker calls it; ``floor`` writes what was committed, read back into Arrow beforehand, as one file
and does nothing else. Prints one line of JSON: CPU seconds of the work alone, peak in MB, results.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from bench.aggregating import count_results
from bench.made_up import staged_batches
from bench.process import peak_megabytes
from pipeline import keys
from pipeline.catalog import Tables
from pipeline.iceberg import open_folder_catalog
from pipeline.metrics import MemoryMetrics
from pipeline.steps.aggregate import AggregateStep
from pipeline.storage.folder import FolderStorage
from pipeline.workers.aggregate import POINTERS_AT_ONCE
from stages.aggregate import COMPRESSION_LEVEL
from stages.records import Pointer
from stages.staged import encode_staged
from stages.tables import ROWS_A_GROUP


def _prepare(lake: Path, batches: int) -> dict[str, float]:
    shutil.rmtree(lake, ignore_errors=True)
    storage = FolderStorage(lake)
    results = 0
    for batch, pages in staged_batches(batches):
        results += sum(len(page.results) for page in pages)
        storage.put_new(keys.staged(batch), encode_staged(batch, pages, lane=""))
    return {"results": results}


def _step(lake: Path, _batches: int) -> dict[str, float]:
    (lake / "catalog.sqlite3").unlink(missing_ok=True)
    shutil.rmtree(lake / "tables", ignore_errors=True)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    log: Any = structlog.get_logger()
    storage = FolderStorage(lake)
    tables = Tables(open_folder_catalog(lake))
    tables.create()
    metrics = MemoryMetrics()
    step = AggregateStep(storage, tables, metrics, log)
    bodies = [msgspec.json.encode(Pointer(key)) for key in storage.keys(keys.STAGING)]
    started = time.process_time()
    for at in range(0, len(bodies), POINTERS_AT_ONCE):
        failed = step(bodies[at : at + POINTERS_AT_ONCE])
        if failed:
            raise next(iter(failed.values()))
    cpu = time.process_time() - started
    # Taken before the tables are looked at, which is no part of the work.
    return {"cpu": cpu, "results": metrics["results_committed"], "peak": peak_megabytes()}


def _floor(lake: Path, _batches: int) -> dict[str, float]:
    tables = [pq.read_table(path) for path in sorted((lake / "tables").rglob("*.parquet"))]
    table = pa.concat_tables([one for one in tables if "results" in one.column_names])
    results = count_results(table)
    started = time.process_time()
    pq.write_table(
        table,
        lake / "floor.parquet",
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        row_group_size=ROWS_A_GROUP,
    )
    return {"cpu": time.process_time() - started, "results": results}


if __name__ == "__main__":
    modes = {"prepare": _prepare, "step": _step, "floor": _floor}
    done = modes[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    print(msgspec.json.encode({"peak": peak_megabytes(), **done}).decode())
