"""Which rows a lake shows: those of its live files, less what was deleted, whatever wrote them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFile, DataFileContent
from pyiceberg.table import Table
from pyiceberg.types import ListType, LongType, StringType, StructType

from pipeline.catalog import Tables
from pipeline.errors import Misuse, StorageUnavailable
from pipeline.iceberg import NAMESPACE, open_folder_catalog
from pipeline.query import Lake
from stages.views import VIEWS
from tests.pipeline.query import deletes, lakes

KEYWORDS = "SELECT run_id, keyword FROM pages ORDER BY 1, 2"


def _rows(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return [row for chunk in lake.ask(sql).chunks() for row in chunk]


def _asked(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with Lake(folder) as lake:
        return _rows(lake, sql)


def _two_runs(folder: Path) -> Path:
    return lakes.write(
        folder,
        [
            lakes.staged(
                run,
                1,
                *(
                    lakes.page(keyword, lakes.organic(1, "a.example"), at=f"{day}T10:00:00")
                    for keyword in "abcd"
                ),
            )
            for run, day in (("run-a", "2026-07-01"), ("run-b", "2026-07-02"))
        ],
    )


@contextmanager
def _pages(folder: Path) -> Iterator[Table]:
    with closing(open_folder_catalog(folder)) as catalog:
        yield catalog.load_table((NAMESPACE, "pages"))


def _data_file(table: Table, run_date: str) -> DataFile:
    return next(
        task.file for task in table.scan().plan_files() if f"run_date={run_date}" in task.file.file_path
    )


def test_deleted_positions_are_gone_and_nothing_else(tmp_path: Path) -> None:
    """Deletes of one file leave the same places of other files; pyiceberg reads the same rows."""
    folder = _two_runs(tmp_path / "lake")
    with _pages(folder) as table:
        deletes.delete_rows(table, _data_file(table, "2026-07-01"), [0, 2])
        deletes.delete_rows(table, _data_file(table, "2026-07-01"), [3])
        oracle = table.refresh().scan(selected_fields=("run_id", "keyword")).to_arrow().to_pylist()
    expected = [("run-a", "b"), *(("run-b", keyword) for keyword in "abcd")]
    assert _asked(folder, KEYWORDS) == expected
    assert sorted((row["run_id"], row["keyword"]) for row in oracle) == expected
    assert _asked(folder, "SELECT keyword FROM results WHERE run_date = DATE '2026-07-01'") == [("b",)]


def test_each_file_loses_its_own_positions(tmp_path: Path) -> None:
    """A place that is deleted in one file is kept in another one that has deletes too."""
    folder = _two_runs(tmp_path / "lake")
    with _pages(folder) as table:
        deletes.delete_rows(table, _data_file(table, "2026-07-01"), [0, 1])
        deletes.delete_rows(table, _data_file(table, "2026-07-02"), [2])
    kept = [*(("run-a", keyword) for keyword in "cd"), *(("run-b", keyword) for keyword in "abd")]
    assert _asked(folder, KEYWORDS) == kept


def test_a_position_deleted_twice_hides_one_row(tmp_path: Path) -> None:
    folder = _two_runs(tmp_path / "lake")
    with _pages(folder) as table:
        for _ in range(2):
            deletes.delete_rows(table, _data_file(table, "2026-07-02"), [1])
    assert len(_asked(folder, KEYWORDS)) == 7


def test_every_file_may_have_deletes_and_lose_all_its_rows(tmp_path: Path) -> None:
    folder = _two_runs(tmp_path / "lake")
    with _pages(folder) as table:
        for day in ("2026-07-01", "2026-07-02"):
            deletes.delete_rows(table, _data_file(table, day), [0, 1, 2, 3])
    assert _asked(folder, KEYWORDS) == []
    assert _asked(folder, "SELECT count(*) FROM pages") == [(0,)]


def test_deletes_by_value_are_refused_and_not_ignored(tmp_path: Path) -> None:
    """Rows that Athena would not show must not show up here."""
    folder = _two_runs(tmp_path / "lake")
    with _pages(folder) as table:
        data_file = _data_file(table, "2026-07-01")
        deletes.delete_rows(table, data_file, [0], DataFileContent.EQUALITY_DELETES)
    with pytest.raises(Misuse, match="only Athena reads"):
        Lake(folder)


def test_a_column_that_older_files_lack_is_null_and_of_its_type(tmp_path: Path) -> None:
    """Columns are found by their ids: added ones, also within results, are NULL; renamed ones stay."""
    folder = _two_runs(tmp_path / "lake")
    with _pages(folder) as table:
        with table.update_schema() as schema:
            schema.add_column("cost", LongType())
            schema.rename_column("lane", "road")
        element = table.schema().find_type("results")
        assert isinstance(element, ListType)
        assert isinstance(element.element_type, StructType)
        with table.refresh().update_schema() as schema:
            schema.add_column(("results", "thumbnail"), StringType())
        live = table.refresh()
        live.append(_with_new_columns(live))
    columns = "keyword, cost, road, results[1].thumbnail"
    sql = f"SELECT {columns} FROM pages WHERE keyword IN ('a', 'new') ORDER BY 1, cost"  # noqa: S608  # constants
    with Lake(folder) as lake:
        assert {one.name: one.type for one in lake.ask("SELECT * FROM pages").columns}["cost"] == "bigint"
        assert _rows(lake, sql) == [
            ("a", None, "0", None),
            ("a", None, "0", None),
            ("new", 7, "1", "t.png"),
        ]
        assert _rows(lake, "SELECT count(*) FROM results") == [(9,)]


def _with_new_columns(table: Table) -> pa.Table:
    old = table.scan(limit=1).to_arrow().to_pylist()[0]
    result = {**old["results"][0], "thumbnail": "t.png"}
    row = {**old, "keyword": "new", "cost": 7, "road": "1", "results": [result]}
    return pa.Table.from_pylist([row], schema=table.schema().as_arrow())


def test_an_empty_lake_has_empty_tables_of_the_right_columns(tmp_path: Path) -> None:
    folder = lakes.write(tmp_path / "lake", [])
    with Lake(folder) as lake:
        types = {one.name: one.type for one in lake.ask("SELECT * FROM pages").columns}
        assert types["run_date"] == "date"
        assert types["fetched_at"] == "timestamp"
        assert types["results"].startswith("struct(rank integer")
        for name in ("pages", "shards", "closings", *(view.name for view in VIEWS)):
            assert _rows(lake, f"SELECT * FROM {name}") == []  # noqa: S608  # our names


def test_a_lake_of_an_older_serpline_is_asked_as_before(tmp_path: Path) -> None:
    """A table that came later is empty until something runs in the lake again; what is there is answered."""
    folder = lakes.small(tmp_path / "lake")
    with closing(open_folder_catalog(folder)) as catalog:
        catalog.drop_table((catalog.name, "closings"))
    with Lake(folder) as lake:
        assert _rows(lake, "SELECT * FROM closings") == []
        assert _rows(lake, "SELECT * FROM closures") == []
        assert _rows(lake, "SELECT count(*) FROM runs") == [(4,)]


def test_only_the_current_snapshot_is_read(tmp_path: Path) -> None:
    """A replaced file stays in its folder until it is removed; it is no part of the table any more."""
    folder = _two_runs(tmp_path / "lake")
    with _pages(folder) as table:
        table.delete("run_date = '2026-07-01'")
    assert {row[0] for row in _asked(folder, KEYWORDS)} == {"run-b"}


def test_what_is_committed_later_is_seen_by_the_next_opening(tmp_path: Path) -> None:
    folder = _two_runs(tmp_path / "lake")
    later = lakes.staged("run-c", 1, lakes.page("z", at="2026-07-03T10:00:00"))
    with Lake(folder) as before:
        with closing(open_folder_catalog(folder)) as catalog:
            Tables(catalog).append_pages([later])
        assert _rows(before, "SELECT count(*) FROM pages") == [(8,)]
    assert _asked(folder, "SELECT count(*) FROM pages") == [(9,)]


@pytest.mark.parametrize("name", ["it's", "a [b] *", "ö 鞋", "with space"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Quotes, patterns and spaces in a path are a path, whatever lies beside it; also with deletes."""
    folder = _two_runs(tmp_path / name / "lake")
    shutil.copytree(tmp_path / name, tmp_path / "a b x")
    with _pages(folder) as table:
        deletes.delete_rows(table, _data_file(table, "2026-07-01"), [0])
    assert len(_asked(folder, KEYWORDS)) == 7


def test_columns_come_from_the_files_and_not_from_folder_names(tmp_path: Path) -> None:
    """A source called like a number, or with a slash, keeps its text and its type."""
    batches = [
        lakes.staged("run-a", at, lakes.page("k", at="2026-07-01T10:00:00"), source=source)
        for at, source in enumerate(("007", "a/b"), 1)
    ]
    folder = lakes.write(tmp_path / "lake", batches)
    assert _asked(folder, "SELECT source FROM pages ORDER BY source") == [("007",), ("a/b",)]


def test_no_lake_says_what_to_do_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="run `serpline run FILE` first"):
        Lake(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_catalog_without_tables_is_no_lake_yet(tmp_path: Path) -> None:
    with closing(open_folder_catalog(tmp_path)) as catalog:
        catalog.create_namespace(NAMESPACE)
    with pytest.raises(Misuse, match="run `serpline run FILE` first"):
        Lake(tmp_path)


def test_a_moved_lake_is_told(tmp_path: Path) -> None:
    _two_runs(tmp_path / "lake").rename(tmp_path / "moved")
    with pytest.raises(Misuse, match="moved"):
        Lake(tmp_path / "moved")


def test_a_file_that_went_away_is_worth_another_try(tmp_path: Path) -> None:
    """An expiry may remove a file between the opening and the reading."""
    folder = _two_runs(tmp_path / "lake")
    with Lake(folder) as lake:
        for path in folder.rglob("*.parquet"):
            path.unlink()
        with pytest.raises(StorageUnavailable, match="ask again"):
            _rows(lake, "SELECT count(DISTINCT keyword) FROM pages")


def test_a_damaged_file_is_told_in_one_line(tmp_path: Path) -> None:
    folder = _two_runs(tmp_path / "lake")
    for path in folder.rglob("*.parquet"):
        path.write_bytes(b"PAR1 not at all")
    with pytest.raises((Misuse, StorageUnavailable)) as raised, Lake(folder) as lake:
        _rows(lake, "SELECT count(DISTINCT keyword) FROM pages")
    assert "\n" not in str(raised.value)


def test_opening_and_closing_leaves_no_files(tmp_path: Path) -> None:
    """The place for large sorts goes when the lake is closed."""
    folder = _two_runs(tmp_path / "lake")
    before = sorted(folder.rglob("*"))
    with Lake(folder) as lake:
        spill = lake._spill
        assert spill.is_dir()
        _rows(lake, KEYWORDS)
    assert not spill.exists()
    assert sorted(folder.rglob("*")) == before


def test_the_files_agree_with_the_tables_schema(small_folder: Path) -> None:
    """What this reads by id is in the files under the same id: otherwise every column would be NULL."""
    with _pages(small_folder) as table:
        expected = {field.name: field.field_id for field in table.schema().fields}
        for task in table.scan().plan_files():
            path = task.file.file_path.removeprefix("file://")
            fields = pq.read_schema(path)
            assert {field.name: int(field.metadata[b"PARQUET:field_id"]) for field in fields} == expected
