"""Compaction changes no answer: rows, deletes, columns, memory."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.manifest import DataFileContent

from pipeline.catalog import Committed, Tables
from pipeline.compaction import TableUpkeep
from pipeline.functions.compact import in_function
from pipeline.functions.runtime import Opened, Remaining
from pipeline.iceberg import open_folder_catalog, write_data_file
from pipeline.replacement import Manifests, Replacement
from stages.shard import ShardRow
from stages.tables import PAGES, ROWS_A_GROUP
from tests.pipeline.compaction_kit import (
    asked,
    compacted,
    compactor,
    delete,
    filled,
    live,
    pages,
    rows,
    rows_of,
    write_like,
)
from tests.pipeline.kit import LOG, each_once
from tests.pipeline.query.deletes import delete_rows
from tests.pipeline.test_catalog import open_tables, staged


def test_small_files_of_each_partition_become_one_sorted_file(tmp_path: Path):
    """The same rows, laid out as aggregate lays them out; partitions stay apart."""
    filled(tmp_path, keywords=9)
    filled(tmp_path, keywords=5, part=1)
    before, answer = rows(tmp_path), asked(tmp_path)
    done = compacted(tmp_path)
    assert [(one.files, one.files_after) for one in done] == [(4, 1), (4, 1)]
    assert rows(tmp_path) == before
    assert asked(tmp_path) == answer
    for address in live(tmp_path):
        read = pq.ParquetFile(address.removeprefix("file://"))
        keys = [(row["keyword"], row["page"]) for row in read.read(["keyword", "page"]).to_pylist()]
        assert keys == sorted(keys)
        assert read.schema_arrow.equals(PAGES.schema, check_metadata=True)
        assert read.metadata.row_group(0).num_rows <= ROWS_A_GROUP
        assert read.metadata.row_group(0).column(0).compression == "ZSTD"
    assert compacted(tmp_path) == ()


def test_a_batch_that_was_compacted_is_still_there_once(tmp_path: Path):
    """The look-up of the commit protocol finds it in the new file."""
    filled(tmp_path)
    compacted(tmp_path)
    assert open_tables(tmp_path).append_pages([staged(2), staged(9)]) == Committed(3, 3, 3)
    assert set(each_once(tmp_path).values()) == {1}


def test_shard_rows_are_compacted_too(tmp_path: Path):
    tables = open_tables(tmp_path)
    for part in range(3):
        tables.append_shards([ShardRow("r", "2026-11-23", "k.txt", part, 3, 3, 3, 0, 0, tasks=0)])
    ledger = tables.ledger("r", "2026-11-23")
    [_, done, _] = compactor(tmp_path).compact()
    assert done.table == "shards"
    assert [(one.files, one.files_after) for one in done.partitions] == [(3, 1)]
    assert tables.ledger("r", "2026-11-23") == ledger


OPERATIONS = st.lists(
    st.sampled_from(["append", "append", "append", "compact", "compact and clean", "delete"]), max_size=9
)


@given(OPERATIONS, st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_no_history_of_a_table_changes_an_answer(
    tmp_path_factory: pytest.TempPathFactory, operations: list[str], seed: int
):
    """Appends, deletes, compactions and removals in any order: every row as often as without compaction."""
    lake, chance = filled(tmp_path_factory.mktemp("lake"), 1), random.Random(seed)
    tables = open_tables(lake)
    for number, operation in enumerate(operations, 1):
        before = rows(lake)
        if operation == "append":
            tables.append_pages([staged(number, keywords=chance.randint(1, 4), part=chance.randint(0, 1))])
            assert before <= rows(lake)
        elif operation == "delete" and live(lake):
            delete(lake, [0])
            assert before >= rows(lake)
        elif operation.startswith("compact"):
            keep = 0 if "clean" in operation else 24
            compacted(lake, given=compactor(lake, clock=lambda: time.time() + 60), keep=keep)
            assert rows(lake) == before
            assert asked(lake)[0][0] == before.total()


def test_deleted_rows_stay_deleted_and_their_deletes_go(tmp_path: Path):
    """A file with deleted rows is rewritten even alone; a delete file without a use is named no more."""
    filled(tmp_path, 3)
    delete(tmp_path, [0, 2])
    before = rows(tmp_path)
    assert before.total() == 7
    compacted(tmp_path)
    assert rows(tmp_path) == before
    assert not Manifests().live_files(pages(tmp_path)).delete_files
    assert pages(tmp_path).current_snapshot().summary["total-delete-files"] == "0"
    assert asked(tmp_path)[0][0] == 7
    delete(tmp_path, list(range(7)))
    assert compacted(tmp_path)[0].files_after == 0
    assert not rows(tmp_path)
    assert asked(tmp_path)[0][0] == 0


def test_a_delete_file_that_still_applies_to_another_file_stays(tmp_path: Path):
    """Only files of one partition are rewritten; deletes of another go on."""
    filled(tmp_path, 2)
    delete(tmp_path, [0])
    filled(tmp_path, 2, part=1)
    other = next(t.file for t in pages(tmp_path).scan().plan_files() if t.file.partition[2] == 1)
    delete_rows(pages(tmp_path), other, [1])
    before, table, manifests = rows(tmp_path), pages(tmp_path), Manifests()
    state = manifests.live_files(table)
    gone = [address for address, file in state.data.items() if file.partition[2] == 0]
    assert len(state.idle(gone)) == 1
    assert state.idle(gone[:1]) == state.idle(gone[1:]) == []
    compacted(tmp_path)
    assert rows(tmp_path) == before


def test_files_beside_the_replaced_ones_in_a_manifest_stay_with_their_deletes(tmp_path: Path):
    """One manifest names three files; one of them goes, the others keep their age, so that deletes apply."""
    filled(tmp_path, 3)
    old = pages(tmp_path)
    data = [write_like(old, number) for number in range(3)]
    for task in old.scan().plan_files():
        Replacement(pages(tmp_path), Manifests()).run([task.file], [])
    Tables(open_folder_catalog(tmp_path))._append(pages(tmp_path), data)
    named = Manifests().live_files(pages(tmp_path)).data
    data = [named[file.file_path] for file in data]
    delete_rows(pages(tmp_path), data[0], [0])
    delete_rows(pages(tmp_path), data[2], [1])
    before = rows(tmp_path)
    gone = rows_of(tmp_path, 1)
    Replacement(pages(tmp_path), Manifests()).run([data[1]], [])
    assert rows(tmp_path) == before - gone
    assert rows(tmp_path).total() == 4
    compacted(tmp_path)
    assert rows(tmp_path) == before - gone


def test_deletes_by_value_are_left_to_athena(tmp_path: Path):
    """What pyiceberg cannot apply is not rewritten, and the reason is told."""
    filled(tmp_path, 2)
    delete(tmp_path, [0], DataFileContent.EQUALITY_DELETES)
    before = live_or_foreign(tmp_path)
    done = next(iter(compactor(tmp_path).compact()))
    assert "OPTIMIZE" in done.left_out
    assert live_or_foreign(tmp_path) == before


def live_or_foreign(lake: Path) -> set[str]:
    return set(Manifests().live_files(pages(lake)).data)


def test_a_table_with_a_column_of_its_own_is_left_out(tmp_path: Path):
    """A rewrite would lose the values of a column that this code does not know."""
    filled(tmp_path, 2)
    with pages(tmp_path).update_schema() as change:
        change.add_column("mine", pages(tmp_path).schema().find_field("keyword").field_type)
    assert "columns" in next(iter(compactor(tmp_path).compact())).left_out
    assert len(live(tmp_path)) == 2


MEASURED = """
import sys
from datetime import date
from pathlib import Path
import pyarrow as pa
from bench.made_up import staged_batches
from pipeline.catalog import Tables
from pipeline.compaction import Compactor
from pipeline.iceberg import NAMESPACE, open_folder_catalog, write_data_file
from stages.aggregate import page_batch
from stages.staged import decode_staged, encode_staged
from stages.tables import PAGES

lake = Path(sys.argv[2])
catalog = open_folder_catalog(lake)
if sys.argv[1] == "write":
    tables = Tables(catalog)
    tables.create()
    table, files, waiting = catalog.load_table((NAMESPACE, "pages")), [], []
    for batch, pages in staged_batches(600):
        waiting.append(page_batch(decode_staged(encode_staged(batch, pages, lane=""))))
        if len(waiting) == 20:
            partition = (date(2026, 1, 31), "practice_page", 0)
            files.append(write_data_file(table, PAGES, pa.Table.from_batches(waiting), partition))
            waiting.clear()
    tables._append(table, files)
else:
    print(next(iter(Compactor(catalog, lake).compact())).partitions[0].files_after)
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_is_bounded(tmp_path: Path):
    """600,000 results in 30 unsorted files, 260 MB in Arrow: a fixed figure, whatever there is to merge."""
    root = Path(__file__).parents[2]
    for word in ("write", "compact"):
        done = subprocess.run(  # noqa: S603  # this file's own words
            [sys.executable, "-c", MEASURED, word, str(tmp_path)], cwd=root, capture_output=True, check=True
        )
    files_after, peak = map(int, done.stdout.split())
    assert files_after == 1
    assert peak < 600_000


def test_what_is_late_is_left_to_the_next_turn_and_what_is_old_goes_all_the_same(tmp_path: Path):
    """A table with more to compact than a turn reaches forgets its old snapshots in that turn, too."""
    for part in range(3):
        filled(tmp_path, keywords=3, part=part)
    answer, looks = rows(tmp_path), iter([False, False])
    done = compactor(tmp_path, late=lambda: next(looks, True)).compact(keep_hours=0)
    kept = {one.table: (len(one.partitions), one.late) for one in done}
    assert kept == {"pages": (1, True), "shards": (0, True), "closings": (0, True)}
    assert len(pages(tmp_path).metadata.snapshots) == 1
    assert rows(tmp_path) == answer
    assert [one.files_after for one in compacted(tmp_path)] == [1, 1]
    assert rows(tmp_path) == answer


def test_a_turn_of_the_function_begins_nothing_in_its_last_third(tmp_path: Path):
    """What was begun before has that time, and so has the removal of what is old."""
    for part in range(3):
        filled(tmp_path, keywords=3, part=part)
    moments = iter([0.0, 300.0, 300.0])  # the beginning, then two looks
    place = SimpleNamespace(
        open_catalog=lambda: open_folder_catalog(tmp_path), lake=tmp_path, clock=lambda: next(moments, 601.0)
    )
    told = in_function(
        cast("Opened", SimpleNamespace(place=place, log=LOG)),
        cast("Remaining", SimpleNamespace(until=lambda: 900.0)),
    )
    assert (told[0]["table"], len(told[0]["partitions"]), told[0]["late"]) == ("pages", 1, True)


def test_nothing_is_done_to_an_empty_lake(tmp_path: Path):
    open_tables(tmp_path)
    tables = ("pages", "shards", "closings")
    assert list(compactor(tmp_path).compact()) == [TableUpkeep(name) for name in tables]


@pytest.mark.parametrize("unsorted", [0, 1])
def test_large_files_are_merged_as_they_are_and_unsorted_ones_are_sorted_first(tmp_path: Path, unsorted: int):
    """What passes through no run, because it is large and sorted, is merged too; deletes hold there."""
    filled(tmp_path, 3, keywords=700)
    table = pages(tmp_path)
    for part in range(unsorted):
        once = table.scan(row_filter="batch_no == 1").to_arrow()
        # More than one row group, which alone would be sorted in any case.
        mixed = pa.concat_tables([once] * 4).sort_by([("keyword", "descending")])
        file = write_data_file(
            table, PAGES, mixed.cast(PAGES.schema), (date(2026, 11, 23), "practice_api", part)
        )
        Tables(open_folder_catalog(tmp_path))._append(table, [file])
    delete(tmp_path, [0, 5, 699])
    before = rows(tmp_path)
    [done] = compacted(tmp_path, given=compactor(tmp_path, alone=1))
    assert done.files_after == 1
    assert rows(tmp_path) == before
    [address] = live(tmp_path)
    keywords = pq.read_table(address.removeprefix("file://"), columns=["keyword"])["keyword"].to_pylist()
    assert keywords == sorted(keywords)
    assert len(keywords) == 700 * (3 + 4 * unsorted) - 3
