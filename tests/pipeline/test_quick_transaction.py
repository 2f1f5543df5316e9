"""The quick transaction: what it lets be seen is what the library would show, and a table stays as it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, TableProperties, Transaction
from pyiceberg.table.snapshots import Snapshot

from pipeline.errors import CommitConflict
from pipeline.expiry import expire_snapshots
from pipeline.iceberg import write_data_file
from pipeline.quick_transaction import QuickTransaction
from pipeline.replacement import Manifests, Replacement
from stages.tables import PAGES
from tests.pipeline.compaction_kit import filled, pages
from tests.pipeline.test_catalog import open_tables, staged


def new_file(table: Table) -> DataFile:
    """A file without rows, which no snapshot names yet."""
    rows = PAGES.schema.empty_table()
    return write_data_file(table, PAGES, rows, (date(2026, 11, 23), "practice_api", 0))


def append(table: Table) -> None:
    with QuickTransaction(table) as transaction, transaction.update_snapshot().fast_append() as producer:
        producer.append_data_file(new_file(table))


def replace(table: Table) -> None:
    manifests = Manifests()
    Replacement(table, manifests).run(list(manifests.live_files(table).data.values()), [new_file(table)])


def expire(table: Table) -> None:
    expire_snapshots(table, time.time() + 60)


def state(table: Table) -> tuple[str, str]:
    return table.metadata_location, table.metadata.model_dump_json()


@pytest.mark.parametrize("change", [append, replace, expire])
def test_a_commit_that_another_came_before_leaves_the_table_as_it_was(
    tmp_path: Path, change: Callable[[Table], None]
):
    """What the object says is what the catalog said last, so that the next look stands on something true."""
    table = pages(filled(tmp_path, 3))
    before, held = state(table), table.metadata
    open_tables(tmp_path).append_pages([staged(9)])
    there = state(pages(tmp_path))
    with pytest.raises((CommitFailedException, CommitConflict)):
        change(table)
    assert table.metadata is held
    assert state(table) == before
    assert state(pages(tmp_path)) == there
    change(table.refresh())
    assert state(table) == state(pages(tmp_path)) != there


def test_what_was_not_committed_is_not_in_the_table(tmp_path: Path):
    """An error on the way, after the first change was staged, and nothing of it stays."""
    table = pages(filled(tmp_path, 2))
    before = state(table)

    def fails_on_the_way() -> None:
        with QuickTransaction(table) as transaction:
            transaction.set_properties({"colour": "red"})
            with transaction.update_snapshot().fast_append() as producer:
                producer.append_data_file(new_file(table))
            assert transaction.table_metadata.properties["colour"] == "red"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails_on_the_way()
    assert state(table) == before == state(pages(tmp_path))


def test_each_look_sees_what_is_staged_so_far(tmp_path: Path):
    """After each change the same as in the library's own transaction, two changes of the snapshot too."""
    table = pages(filled(tmp_path, 2))
    quick, whole = QuickTransaction(table), Transaction(table)
    assert quick.table_metadata == whole.table_metadata
    for number in range(3):
        for one in (quick, whole):
            one.set_properties({"number": str(number)})
            with one.update_snapshot().fast_append() as producer:
                producer.append_data_file(new_file(table))
        shown, wanted = quick.table_metadata, whole.table_metadata
        assert shown.properties == wanted.properties
        assert len(shown.snapshots) == len(wanted.snapshots) == 3 + number
        assert shown.current_snapshot() == shown.snapshots[-1]
        assert shown.last_sequence_number == wanted.last_sequence_number
    quick.commit_transaction()
    assert len(pages(tmp_path).metadata.snapshots) == 5
    assert pages(tmp_path).properties["number"] == "2"


def test_a_look_after_a_refresh_sees_the_newer_table(tmp_path: Path):
    table = pages(filled(tmp_path, 2))
    transaction = QuickTransaction(table)
    assert len(transaction.table_metadata.snapshots) == 2
    open_tables(tmp_path).append_pages([staged(9)])
    table.refresh()
    assert len(transaction.table_metadata.snapshots) == 3


class _Copied(Snapshot):
    """A snapshot that counts how often it is copied."""

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Snapshot:
        COPIES.append(self.snapshot_id)
        return super().__deepcopy__(memo)


COPIES: list[int] = []


@pytest.mark.parametrize("change", [append, replace, expire])
def test_a_commit_copies_no_snapshot_for_a_look(tmp_path: Path, change: Callable[[Table], None]):
    """A table that remembers thousands of them would spend the time of a commit on that."""
    table = pages(filled(tmp_path, 3))
    counted = [_Copied.model_validate(one.model_dump(by_alias=True)) for one in table.metadata.snapshots]
    table.metadata = table.metadata.model_copy(update={"snapshots": counted})
    COPIES.clear()
    change(table)
    assert not COPIES


def test_the_table_forbids_no_other_engine_to_retry(tmp_path: Path):
    """What holds for our commits is not written into the table: Athena's own retries go by its properties."""
    table = pages(filled(tmp_path, 1))
    append(table)
    assert TableProperties.COMMIT_NUM_RETRIES not in table.refresh().properties
    assert TableProperties.COMMIT_NUM_RETRIES not in table.properties
