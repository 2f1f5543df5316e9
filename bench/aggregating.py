"""Aggregate: staged objects of a folder to committed Parquet through the real step, on one core.

1 million results in 1,000 staged objects; results/s are over the step's CPU seconds, the peak is its
process's. What was committed is counted in the tables. The floor only writes the same rows from Arrow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.figures import Failed, Figure, middle
from bench.made_up import PAGES_A_BATCH, RESULTS_A_PAGE
from bench.process import WORK, child, told

RESULTS = 1_000_000
GOAL = 250_000
MOST_MEGABYTES = 500

_LAKE = WORK / "aggregating"


def bench_aggregate(scale: float, repeat: int, _wanted: Collection[str]) -> Iterator[Figure]:
    """``aggregate_results_per_second`` and ``aggregate_peak_megabytes``."""
    batches = max(1, int(RESULTS * scale) // (PAGES_A_BATCH * RESULTS_A_PAGE))
    results = told(child("aggregate", "prepare", _LAKE, batches))["results"]
    runs, floors = [], []
    for _ in range(repeat):
        run = told(child("aggregate", "step", _LAKE, batches))
        committed = _committed(_LAKE)
        if not run["results"] == committed == results:
            raise Failed(f"of {results:,} staged results {committed:,} are in the tables")
        runs.append(run)
        floors.append(told(child("aggregate", "floor", _LAKE, batches)))
    yield Figure(
        "aggregate_results_per_second",
        middle(results / run["cpu"] for run in runs),
        "results/s a core",
        floor=middle(results / floor["cpu"] for floor in floors),
        goal=GOAL,
    )
    yield Figure(
        "aggregate_peak_megabytes",
        middle(run["peak"] for run in runs),
        "MB",
        goal=MOST_MEGABYTES,
        at_most=True,
    )


def count_results(pages: pa.Table) -> int:
    """Results in all rows of a table of pages."""
    return int(pc.sum(pc.list_value_length(pages["results"])).as_py() or 0)


def _committed(lake: Path) -> int:
    """Results in the data files of ``pages``, by a look into the files themselves."""
    count = 0
    for path in (lake / "tables").rglob("*.parquet"):
        file = pq.ParquetFile(path)
        if "results" in file.schema_arrow.names:
            count += count_results(file.read(columns=["results.list.element.rank"]))
    return count
