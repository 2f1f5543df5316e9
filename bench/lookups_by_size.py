"""The look-up before a commit (which batches are in their partition already), by the partition's size.

Seconds and peak memory of the look alone (the process's whole memory) for the 300 batches of one commit. The
partition is the worst that compaction can leave: every file holds batches of the whole run, so that each is
opened. Beside it files that hold the batches of their time, as commits and compaction make them. Asked are
batches that follow each other, and as many from one end of the run to the other; the slower and the
larger counts. 1 and 10 million pages; 100 million with ``--huge``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bench.figures import Failed, Figure, middle
from bench.process import WORK, child, told

MOST_MEGABYTES = 500
MILLION = 1_000_000

SIZES = (1, 10)
HUGE = 100
KINDS = ("seconds", "megabytes")


def names(sizes: Collection[int]) -> tuple[str, ...]:
    """The figures of partitions of so many million pages."""
    return tuple(f"batches_in_{size}m_pages_{kind}" for size in sizes for kind in KINDS)


def bench_lookups(scale: float, repeat: int, wanted: Collection[str]) -> Iterator[Figure]:
    """Both figures of the sizes that are made in a minute."""
    for size in SIZES:
        if set(names([size])) & set(wanted):
            yield from _figures(size, scale, repeat)


def bench_huge_lookups(scale: float, _repeat: int, _wanted: Collection[str]) -> Iterator[Figure]:
    """The same of 100 million pages, once."""
    yield from _figures(HUGE, scale, 1)


def _figures(size: int, scale: float, repeat: int) -> Iterator[Figure]:
    pages = max(100_000, int(size * MILLION * scale))
    runs = {layout: _looks(layout, pages, repeat) for layout in ("spread", "ordered")}
    seconds, megabytes = names([size])
    yield Figure(
        seconds,
        max(middle(look["cpu"] for look in looks) for looks in runs["spread"].values()),
        "s a look-up on a core",
        peers={"files of their time": middle(look["cpu"] for look in runs["ordered"]["near"])},
        at_most=True,
    )
    yield Figure(
        megabytes,
        max(look["peak"] for looks in runs["spread"].values() for look in looks),
        "MB",
        goal=MOST_MEGABYTES,
        at_most=True,
    )


def _looks(layout: str, pages: int, repeat: int) -> dict[str, list[dict[str, float]]]:
    lake = WORK / "lookups" / f"{layout}-{pages}"
    child("lookups", "prepare", lake, pages, layout)
    looks = {
        mode: [told(child("lookups", mode, lake, pages, layout)) for _ in range(repeat)]
        for mode in ("near", "far")
    }
    for look in (look for found in looks.values() for look in found):
        if look["wrong"] or not look["found"]:
            raise Failed(
                f"of {pages:,} pages a look-up found {look['found']:,} batches, {look['wrong']:,} wrong"
            )
    return looks
