"""Metadata under a steady stream of commits: as much as a day needs, and no more on the second day."""

from __future__ import annotations

from pathlib import Path

from pipeline.iceberg import PREVIOUS_METADATA
from tests.pipeline.commit_days import Grown, commit_days, grew
from tests.pipeline.kit import each_once

MINUTES, EVERY = 32, 8
"""A short day, compacted each quarter of it."""


def test_one_commit_a_minute_keeps_the_metadata_of_one_day(tmp_path: Path):
    """Files, bytes and snapshots are those of one day's commits, and the third day adds nothing to them."""
    _, second, third = commit_days(tmp_path, days=3, minutes=MINUTES, every=EVERY)
    turns = MINUTES // EVERY
    assert third.states <= PREVIOUS_METADATA + 1
    # A day's commits and compactions, and the quarter that is just over.
    most = MINUTES + EVERY + 2 * turns
    assert third.snapshots <= most
    # A snapshot has a list and a manifest of its own; a compaction two manifests.
    assert third.manifests <= 3 * most
    assert third.live_manifests <= 2
    assert third.data_files <= most
    assert grew(second, third) == []
    assert set(each_once(tmp_path).values()) == {1}


def test_a_table_that_grows_is_told_by_what_grew():
    """More than one file, or more than a twentieth of the bytes: that is what the two whole days fail by."""
    day = Grown(21, 100, 1000, 100, 30, 2, 40)
    assert grew(day, Grown(21, 101, 1050, 105, 30, 2, 39)) == []
    assert grew(day, Grown(21, 102, 1051, 105, 32, 2, 40)) == ["manifests", "snapshots", "bytes"]
