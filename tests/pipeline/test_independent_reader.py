"""The tables are Iceberg's and not only ours: a reader that shares no code with us reads the same rows."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table import Table

from pipeline.catalog import Tables
from pipeline.compaction import Compactor
from pipeline.iceberg import NAMESPACE, open_folder_catalog
from pipeline.query import Lake
from stages.shard import ShardRow
from tests.pipeline.compaction_kit import compacted, delete, on_disk
from tests.pipeline.past_tables.make import NAMES, restored
from tests.pipeline.test_catalog import open_tables, staged

ROOT = Path(__file__).parents[2]
DAY = "2026-11-23"


@pytest.fixture(scope="session")
def reader() -> Path:
    """The interpreter that has DuckDB's own Iceberg extension."""
    path = ROOT / "build" / "reader" / "bin" / "python"
    if not path.exists():
        reason = f"no independent Iceberg reader at {path}: `make tools` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Rows as ``iceberg_reader`` prints them."""
    return [json.dumps(row, default=str, sort_keys=True, ensure_ascii=False) for row in rows]


class Both:
    """A lake as we read it and as the other reader does."""

    def __init__(self, lake: Path, reader: Path) -> None:
        self.lake = lake
        self._reader = reader

    def table(self, name: str = "pages") -> Table:
        return open_folder_catalog(self.lake).load_table((NAMESPACE, name))

    def theirs(self, sql: str = "SELECT * FROM t", table: str = "pages") -> Counter[str]:
        """What the other reader answers, of the metadata that our catalog names now."""
        metadata = self.table(table).metadata_location.removeprefix("file://")
        done = subprocess.run(  # noqa: S603  # our own program
            [self._reader, ROOT / "tests" / "pipeline" / "iceberg_reader.py", metadata, sql],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return Counter(done.stdout.splitlines())

    def agree(self, rows: int) -> Counter[str]:
        """So many rows, the same to the other reader, to pyiceberg and to `serpline query`; gives them."""
        theirs = self.theirs()
        assert theirs.total() == rows
        assert Counter(lines(self.table().scan().to_arrow().to_pylist())) == theirs
        with Lake(self.lake) as lake:
            answer = lake.ask("SELECT * FROM pages")
            asked = [row for batch in answer.batches() for row in batch.to_pylist()]
        assert Counter(lines(asked)) == theirs
        return theirs

    def find(self, where: str) -> int:
        """Rows that the other reader finds: it leaves out files by what the manifests say of them."""
        [line] = self.theirs(f"SELECT count(*) AS n FROM t WHERE {where}")  # noqa: S608  # a test's own
        return int(line.removeprefix('{"n": ').removesuffix("}"))


@pytest.fixture
def both(tmp_path: Path, reader: Path) -> Both:
    return Both(tmp_path, reader)


def test_appends_deletes_compaction_and_expiry_read_the_same(both: Both):
    """One table through all that is ever done to it, compared after each."""
    tables = open_tables(both.lake)
    for number in range(4):
        tables.append_pages([staged(number, keywords=5), staged(number, keywords=2, part=1)])
    tables.append_pages([staged(9, source="practice_page"), staged(9, run_date="2026-11-22")])
    both.agree(4 * 7 + 6)
    assert both.find(f"run_date = DATE '{DAY}' AND source = 'practice_api' AND part = 1") == 8
    assert both.find("keyword = '2:4'") == 1
    assert both.find("batch_no BETWEEN 1 AND 2") == 14

    # Rows 9:0 and 9:1 of the day before.
    delete(both.lake, [0, 1])
    before = both.agree(32)

    compacted(both.lake)
    assert both.agree(32) == before
    assert len(both.table().inspect.files()) == 4

    delete(both.lake, [0])
    tables.append_pages([staged(20, keywords=3)])
    after = both.agree(34)

    list(Compactor(open_folder_catalog(both.lake), both.lake, sleep=lambda _: None).compact(keep_hours=-1))
    assert len(both.table().snapshots()) == 1
    named = {row["file_path"] for row in both.table().inspect.files().to_pylist()}
    assert on_disk(both.lake) == named
    assert both.agree(34) == after

    tables = open_tables(both.lake)
    assert tables.append_pages([staged(20, keywords=3), staged(21, keywords=1)]).already == 3
    both.agree(35)
    found = [both.find(f"keyword = '{keyword}'") for keyword in ("20:2", "21:0", "9:1", "none")]
    # Of the two that are called 9:1 the other was deleted.
    assert found == [1, 1, 1, 0]


def test_an_older_snapshot_reads_the_same_after_compaction(both: Both):
    """A reader that began before a replacement has its files until they expire."""
    tables = open_tables(both.lake)
    for number in range(3):
        tables.append_pages([staged(number)])
    snapshot = both.table().current_snapshot()
    assert snapshot is not None
    before = both.theirs()
    compacted(both.lake)
    tables.append_pages([staged(7)])
    metadata = both.table().metadata_location.removeprefix("file://")
    sql = f"SELECT * FROM iceberg_scan('{metadata}', snapshot_from_id => {snapshot.snapshot_id}::UBIGINT)"  # noqa: S608
    assert both.theirs(sql) == before
    assert both.theirs().total() == 12


def test_the_table_of_shards_reads_the_same(both: Both):
    tables = open_tables(both.lake)
    for part in range(3):
        tables.append_shards([ShardRow("run1", DAY, "k.txt", part, 3, lines=5, kept=4, rejected=1, tasks=4)])
    for _ in range(2):
        ours = both.table("shards").scan().to_arrow().to_pylist()
        assert Counter(lines(ours)) == both.theirs(table="shards")
        assert len(ours) == 3
        compacted(both.lake)


@pytest.mark.parametrize("name", NAMES)
def test_past_tables_read_the_same(name: str, tmp_path: Path, reader: Path):
    """As they were left, with today's columns, and compacted: the ids of columns lead every reader."""
    both = Both(restored(name, tmp_path), reader)
    assert both.theirs().total() == 6
    tables = Tables(open_folder_catalog(both.lake))
    tables.create()
    both.agree(6)
    tables.append_pages([staged(5, run_date="2026-10-01")])
    before = both.agree(9)
    assert both.find("lane IS NULL") == (6 if name == "without_lane" else 0)
    compacted(both.lake)
    assert both.agree(9) == before


def test_the_reader_can_disagree(both: Both):
    """It reads what is there and not what we say: a row that is taken away is missed."""
    open_tables(both.lake).append_pages([staged(1)])
    before = both.agree(3)
    delete(both.lake, [1])
    assert (before - both.agree(2)).total() == 1
