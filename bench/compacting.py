"""Compaction: results a second of CPU on one core, and the peak memory of the process.

A million results in files as commits leave them become one sorted file. Reading, sorting, writing, the commit
and the clearing up after it count; start-up does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bench.children.compacts import PAGES_A_FILE
from bench.figures import Failed, Figure, middle
from bench.made_up import RESULTS_A_PAGE
from bench.process import WORK, child, told

PAGES = 100_000
LEAST_FILES = 4
GOAL, MOST_MEGABYTES = 160_000, 700

NAMES = ("compact_results_per_second", "compact_peak_megabytes")


def bench_compact(scale: float, repeat: int, _wanted: Collection[str]) -> Iterator[Figure]:
    """Both, of the same compactions."""
    pages = max(LEAST_FILES * PAGES_A_FILE, int(PAGES * scale))
    lake = WORK / "compacting" / str(pages)
    child("compacts", "prepare", lake, pages)
    runs = [told(child("compacts", "compact", lake, pages)) for _ in range(repeat)]
    for run in runs:
        if not run["after"] == 1 < run["files"]:
            raise Failed(f"{run['files']:,} files became {run['after']:,}")
    results = pages * RESULTS_A_PAGE
    yield Figure(
        "compact_results_per_second",
        results / middle(run["cpu"] for run in runs),
        "results a second of CPU",
        goal=GOAL,
        peers={"by the clock": results / middle(run["seconds"] for run in runs)},
    )
    yield Figure(
        "compact_peak_megabytes", max(run["peak"] for run in runs), "MB", goal=MOST_MEGABYTES, at_most=True
    )
