"""What tests of compaction stand on: lakes of small files, what they answer, and what comes in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

from pyiceberg.manifest import DataFile, DataFileContent
from pyiceberg.table import Table

from pipeline.compaction import Compacted, Compactor
from pipeline.iceberg import NAMESPACE, open_folder_catalog, write_data_file
from pipeline.query import Lake
from stages.tables import PAGES
from tests.pipeline.query.deletes import delete_rows
from tests.pipeline.test_catalog import open_tables, staged

SQL = "SELECT count(*), count(DISTINCT keyword), sum(cardinality(results)), max(batch_no) FROM pages"


def pages(lake: Path) -> Table:
    return open_folder_catalog(lake).load_table((NAMESPACE, "pages"))


def rows(lake: Path) -> Counter[str]:
    """Every row with all its columns, and how often it is there."""
    return Counter(map(repr, pages(lake).scan().to_arrow().to_pylist()))


def asked(lake: Path) -> list[tuple[object, ...]]:
    with Lake(lake) as opened:
        return [row for chunk in opened.ask(SQL).chunks() for row in chunk]


def live(lake: Path) -> set[str]:
    return {task.file.file_path for task in pages(lake).scan().plan_files()}


def on_disk(lake: Path) -> set[str]:
    return {f"file://{path}" for path in (lake / "tables").rglob("pages/data/**/*.parquet")}


def compactor(lake: Path, **options: object) -> Compactor:
    return Compactor(open_folder_catalog(lake), lake, sleep=lambda _: None, **options)  # type: ignore[arg-type]


def compacted(lake: Path, *, given: Compactor | None = None, keep: float = 24) -> tuple[Compacted, ...]:
    """What became of the partitions of ``pages``."""
    done = list((given if given is not None else compactor(lake)).compact(keep))
    return next(one for one in done if one.table == "pages").partitions


def filled(lake: Path, batches: int = 4, **fields: object) -> Path:
    tables = open_tables(lake)
    for number in range(batches):
        tables.append_pages([staged(number, **fields)])
    return lake


def delete(
    lake: Path, places: list[int], content: DataFileContent = DataFileContent.POSITION_DELETES
) -> None:
    """Rows of the first file in the order of addresses, deleted as Athena deletes them."""
    table = pages(lake)
    file = min((task.file for task in table.scan().plan_files()), key=lambda file: file.file_path)
    delete_rows(table, file, places, content)


def hooked(lake: Path, *hooks: Callable[[], None], after: bool = False) -> Compactor:
    """A compactor whose nth commit is preceded, or followed, by the nth of these."""
    one, waiting = compactor(lake), list(hooks)
    run = one._run

    def between(*arguments: object) -> None:
        hook = waiting.pop(0) if waiting else None
        if hook is not None and not after:
            hook()
        run(*arguments)  # type: ignore[arg-type]
        if hook is not None and after:
            hook()

    one._run = between  # type: ignore[method-assign]
    return one


def write_like(table: Table, number: int) -> DataFile:
    """A new file with the rows of one batch, which no snapshot names yet."""
    found = table.scan(row_filter=f"batch_no == {number}").to_arrow().cast(PAGES.schema)
    return write_data_file(table, PAGES, found, (date(2026, 11, 23), "practice_api", 0))


def rows_of(lake: Path, number: int) -> Counter[str]:
    return Counter(map(repr, pages(lake).scan(row_filter=f"batch_no == {number}").to_arrow().to_pylist()))
