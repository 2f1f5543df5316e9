"""Commit latency by how many snapshots the table remembers, and after they expired.

One commit is the whole protocol (refresh, look-up, file, append, catalog) for a batch of ten pages, in a
folder with its SQLite catalog: milliseconds at p50, with p99 beside it and the CPU, which a busy machine
changes less: by that it is told whether expiry makes it flat again. Each commit stands on the same history.
What is remembered is read and written with every commit, so it costs more the more that is; expiry takes
it back to where it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bench.figures import Failed, Figure
from bench.process import WORK, child, told

HISTORIES = {10: 100, 1_000: 100, 10_000: 20}
"""Snapshots, and how many commits are timed on them."""

FLAT = 1.25
"""Of a commit's CPU at ten snapshots: below it is a tie."""

NAMES = (*(f"commit_milliseconds_at_{count}_snapshots" for count in HISTORIES), "commit_after_expiry_vs_10")


def bench_commits(scale: float, _repeat: int, _wanted: Collection[str]) -> Iterator[Figure]:
    """All of them: each needs the first."""
    found = {}
    for snapshots, times in HISTORIES.items():
        lake = WORK / "commits" / str(snapshots)
        made = told(child("commits", "prepare", lake, snapshots))
        if made["snapshots"] != snapshots:
            raise Failed(f"the table remembers {made['snapshots']:,} snapshots instead of {snapshots:,}")
        found[snapshots] = told(child("commits", "commit", lake, max(10, int(times * scale))))
        yield Figure(
            f"commit_milliseconds_at_{snapshots}_snapshots",
            found[snapshots]["p50"],
            "ms at p50",
            peers={
                "p99": found[snapshots]["p99"],
                "CPU at p50": found[snapshots]["cpu"],
                "metadata file in kB": made["bytes"] / 1000,
            },
            at_most=True,
        )
    left = told(child("commits", "expire", lake, 0))
    # The last of the old ones was current until the first of the others.
    if left["snapshots"] > min(HISTORIES) + 1:
        raise Failed(f"expiry left {left['snapshots']:,} snapshots")
    after = told(child("commits", "commit", lake, max(10, int(HISTORIES[10] * scale))))
    yield Figure(
        "commit_after_expiry_vs_10",
        after["cpu"] / found[10]["cpu"],
        "of the CPU at 10 snapshots",
        goal=FLAT,
        peers={
            "p50 in ms": after["p50"],
            "p99 in ms": after["p99"],
            "metadata file in kB": left["bytes"] / 1000,
        },
        at_most=True,
    )
