"""What each view reads to answer for one keyword, one day and one domain, and gzipped JSON lines beside it.

A table of a million pages, 10 million results, of ten days: a file a day, sorted, as compaction leaves them.
Counted is every byte that ``serpline query`` reads from when the lake is opened to the last row: catalog,
metadata, footers, columns. The lines lie in one file a day: a question of one day reads that day's, each
other one all of them. The value is how many times fewer bytes the view reads; there is a question for
each of the three columns that a view has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bench.children.reads import DAYS, QUESTIONS
from bench.figures import Failed, Figure
from bench.process import WORK, child, told

PAGES_A_DAY = 100_000
LEAST_PAGES = 1_000

CLOSURES = "closures_of_one_day_megabytes"

NAMES = (*(f"{view}_of_one_{question}_vs_gzip" for view, question in QUESTIONS), CLOSURES)


def bench_reading(scale: float, _repeat: int, wanted: Collection[str]) -> Iterator[Figure]:
    """All that are wanted; counting bytes has no noise, so once is enough."""
    pages = max(LEAST_PAGES, int(PAGES_A_DAY * scale))
    lake = WORK / "reading" / str(pages)
    packed = told(child("reads", "prepare", lake, pages))["packed"]
    for name, (view, question) in zip(NAMES, (*QUESTIONS, ("closures", "day")), strict=True):
        if name not in wanted:
            continue
        asked = told(child("reads", "ask", lake, pages, view, question))
        if not asked["rows"]:
            raise Failed(f"{view} has no row of one {question}")
        read = asked["bytes"] / 1e6
        if name == CLOSURES:
            # Of its own small table: there are no lines of pages to read instead.
            yield Figure(name, read, "MB read", at_most=True)
            continue
        lines = packed * (1 if question == "day" else DAYS) / 1e6
        peers = {"MB read": read, "MB of gzipped JSON lines": lines}
        yield Figure(name, lines / read, "times fewer bytes", peers=peers)
