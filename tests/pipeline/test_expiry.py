"""What is old goes, what is in use stays, and a kill at any effect changes no answer."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.compaction import Compactor
from pipeline.errors import CommitConflict, Misuse
from pipeline.expiry import expire_snapshots, expired_snapshots, remove_unnamed
from pipeline.iceberg import NAMESPACE
from tests.pipeline.compaction_kit import (
    asked,
    compacted,
    compactor,
    delete,
    filled,
    live,
    on_disk,
    pages,
    rows,
)
from tests.pipeline.killing_io import KILLER, Killed, killing_catalog
from tests.pipeline.test_catalog import open_tables, staged


@pytest.fixture
def killing() -> Iterator[None]:
    yield
    KILLER.arm(-1, after=False)


@pytest.mark.usefixtures("killing")
@pytest.mark.timeout(300)
def test_a_kill_around_any_effect_changes_no_answer(tmp_path: Path):
    """Every file written or deleted and every commit, killed before and after; a later life cleans up."""
    lake, saved = tmp_path / "lake", tmp_path / "saved"
    filled(lake, 3)
    delete(lake, [1])
    before = rows(lake)
    shutil.copytree(lake, saved)
    for at in range(1, 200):
        for after in (False, True):
            shutil.rmtree(lake)
            shutil.copytree(saved, lake)
            KILLER.arm(at, after=after)
            doomed = Compactor(killing_catalog(lake), lake, clock=lambda: time.time() + 60)
            try:
                list(doomed.compact(0))
            except Killed:
                pass
            else:
                assert at > 20, "the effects were not met"
                return
            KILLER.arm(-1, after=False)
            assert rows(lake) == before
            compacted(lake, given=compactor(lake, clock=lambda: time.time() + 60), keep=0)
            assert rows(lake) == before
            assert live(lake) == on_disk(lake)
            assert len(live(lake)) == 1


def aged(path: Path, hours: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (time.time() - hours * 3600,) * 2)
    return path


def test_only_old_files_that_no_snapshot_names_are_removed(tmp_path: Path):
    """A younger one may belong to a commit in flight; a named one stays however old it is."""
    filled(tmp_path)
    folder = tmp_path / "tables" / NAMESPACE / "pages"
    young, old = aged(folder / "data" / "young.parquet", 23), aged(folder / "data" / "old.parquet", 25)
    stale = aged(folder / "metadata" / "snap-1.avro", 25)
    other = aged(tmp_path / "tables" / "elsewhere" / "old.parquet", 99)
    for path in folder.rglob("*"):
        if path.is_file() and path != young:
            os.utime(path, (time.time() - 30 * 3600,) * 2)
    before = rows(tmp_path)
    [done, _, _] = compactor(tmp_path).compact()
    assert (done.removed.files, done.removed.bytes) == (2, 2)
    assert young.exists()
    assert other.exists()
    assert not old.exists()
    assert not stale.exists()
    assert rows(tmp_path) == before
    assert asked(tmp_path)[0][0] == 12


def test_a_lake_that_is_reached_by_another_path_keeps_its_files(tmp_path: Path):
    """A link in the path names the same files: none of them is taken for unnamed."""
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir()
    filled(tmp_path / "link")
    compacted(tmp_path / "link")
    before = rows(tmp_path / "real")
    one = compactor(tmp_path / "real", clock=lambda: time.time() + 60)
    compacted(tmp_path / "real", given=one, keep=0)
    assert rows(tmp_path / "real") == before


def test_a_snapshot_stays_until_long_after_it_ceased_to_be_current(tmp_path: Path):
    """It was made long ago and replaced just now: who began to read it just before still reads it."""
    filled(tmp_path, 2)
    reader = pages(tmp_path)
    time.sleep(0.05)
    moment = time.time()
    compacted(tmp_path)
    table = pages(tmp_path)
    assert expire_snapshots(table, moment) == 1
    assert remove_unnamed(table, moment).files > 0
    assert reader.scan().to_arrow().num_rows == 6
    assert expire_snapshots(table.refresh(), time.time() + 1) == 1
    assert expire_snapshots(table.refresh(), time.time() + 1) == 0
    assert rows(tmp_path).total() == 6


def test_a_snapshot_that_was_rolled_back_just_now_stays(tmp_path: Path):
    """It has no successor of its own; the moment it ceased to be current is in the table's log."""
    filled(tmp_path, 2)
    reader = pages(tmp_path)
    time.sleep(0.05)
    moment = time.time()
    with pages(tmp_path).manage_snapshots() as change:
        change.rollback_to_snapshot(reader.history()[0].snapshot_id)
    assert expire_snapshots(pages(tmp_path), moment) == 0
    assert reader.scan().to_arrow().num_rows == 6


def test_expiry_never_takes_what_became_current_meanwhile(tmp_path: Path):
    """Somebody rolled back to an old snapshot between the look and the commit: expiry loses."""
    filled(tmp_path, 3)
    stale, table = pages(tmp_path), pages(tmp_path)
    first = table.history()[0].snapshot_id
    with table.manage_snapshots() as change:
        change.rollback_to_snapshot(first)
    with pytest.raises(Exception, match="Requirement failed"):
        expire_snapshots(stale, time.time() + 60)
    assert rows(tmp_path).total() == 3


def test_a_snapshot_that_the_log_forgot_ends_where_its_child_begins(tmp_path: Path):
    """As on a branch, whose snapshots no log names: until its child was made it was what readers read."""
    metadata = pages(filled(tmp_path, 3)).metadata.model_copy(update={"snapshot_log": []})
    first, second, third = metadata.snapshots
    assert expired_snapshots(metadata, second.timestamp_ms) == []
    assert expired_snapshots(metadata, second.timestamp_ms + 1) == [first.snapshot_id]
    assert len(expired_snapshots(metadata, third.timestamp_ms + 1)) == 2


def test_who_expires_what_another_expired_meanwhile_has_lost_a_race(tmp_path: Path):
    """It is told as any commit that came too late, so that the next look sees that nothing is left to do."""
    filled(tmp_path, 3)
    one, other = pages(tmp_path), pages(tmp_path)
    assert expire_snapshots(one, time.time() + 60) == 2
    with pytest.raises(CommitConflict, match="expired the same snapshots"):
        expire_snapshots(other, time.time() + 60)
    assert expire_snapshots(other.refresh(), time.time() + 60) == 0
    assert rows(tmp_path).total() == 9


def test_what_was_committed_since_the_table_was_opened_is_not_removed(tmp_path: Path):
    """The file is as old as one that nobody names, and the table that was opened before does not name it."""
    filled(tmp_path, 1)
    stale = pages(tmp_path)
    open_tables(tmp_path).append_pages([staged(5)])
    before = rows(tmp_path)
    remove_unnamed(stale, time.time() + 60)
    assert rows(tmp_path) == before
    assert before.total() == 6


def test_a_copied_lake_is_refused(tmp_path: Path):
    """The copy names files of the original, which newer commits there may need: none is removed."""
    filled(tmp_path / "lake")
    shutil.copytree(tmp_path / "lake", tmp_path / "copy")
    filled(tmp_path / "lake", 6)
    with pytest.raises(Misuse, match="copied or moved"):
        compacted(
            tmp_path / "copy", given=compactor(tmp_path / "copy", clock=lambda: time.time() + 60), keep=0
        )
    assert rows(tmp_path / "lake").total() == 18
