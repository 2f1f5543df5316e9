"""One sorted data file from several: what the merge of ``stages.compact`` needs of files and disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from pipeline.errors import Permanent
from pipeline.iceberg import describe_data_file, new_data_path
from stages.aggregate import write_groups
from stages.compact import ROWS_A_LOOK, SORT, fitted, is_sorted, merged, spooled
from stages.tables import ROWS_A_GROUP, TableSpec


class FileSpool:
    """A run in a file that has no name, so that nothing is left of it whatever happens."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, rows: pa.Table) -> None:
        """Take rows."""
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_stream(self._file, rows.schema, options=options) as stream:
            stream.write_table(rows, max_chunksize=ROWS_A_LOOK)

    def read(self) -> Iterator[pa.RecordBatch]:
        """Give them back."""
        self._file.seek(0)
        with pa.ipc.open_stream(self._file) as stream:
            yield from stream


def merge_files(
    table: Table,
    spec: TableSpec,
    files: Sequence[DataFile],
    deletes: Collection[str],
    folder: str,
    spill: Path,
    alone: int,
) -> list[DataFile]:
    """Write the rows of these files that are not deleted into one sorted file; none where no row is left.

    ``spill`` is a folder for runs; a sorted file of ``alone`` bytes or more passes through none.

    Raises ``Permanent`` where the new file would not hold as many rows as it must, and lets errors
    of files pass.
    """
    deleted = _deleted_places(table, deletes)
    path = new_data_path(table, folder)
    output = table.io.new_output(path)
    wanted = sum(file.record_count - len(deleted.get(file.file_path, ())) for file in files)
    if not wanted:
        return []
    try:
        with ExitStack() as open_files:

            def new_spool() -> FileSpool:
                return FileSpool(open_files.enter_context(tempfile.TemporaryFile(dir=spill)))

            runs = _runs(table, spec, files, deleted, new_spool, alone)
            with output.create() as sink:
                metadata = write_groups(merged(runs, SORT[spec.name]), spec.schema, sink)
        _check(metadata.num_rows, wanted, folder)
    except Exception:
        with suppress(OSError):
            table.io.delete(path)
        raise
    return [describe_data_file(table, path, len(output), metadata, files[0].partition)]


def _check(rows: int, wanted: int, folder: str) -> None:
    if rows != wanted:
        raise Permanent(f"{wanted:,} rows in {folder} came out as {rows:,}: nothing was changed")


def _runs(
    table: Table,
    spec: TableSpec,
    files: Sequence[DataFile],
    deleted: dict[str, set[int]],
    new_spool: Callable[[], FileSpool],
    alone: int,
) -> Iterator[Iterator[pa.RecordBatch]]:
    sort = SORT[spec.name]
    through: list[DataFile] = []
    for file in files:
        # Who wrote it may not have sorted it; small ones are sorted in any case.
        large = file.file_size_in_bytes >= alone
        if large and is_sorted(_read(table, file, list(sort), ROWS_A_GROUP), sort):
            yield _rows(table, spec, file, deleted, ROWS_A_LOOK)
        else:
            through.append(file)
    rows = (batch for file in through for batch in _rows(table, spec, file, deleted, ROWS_A_GROUP))
    yield from spooled(rows, sort, new_spool)


def _rows(
    table: Table, spec: TableSpec, file: DataFile, deleted: dict[str, set[int]], rows_at_once: int
) -> Iterator[pa.RecordBatch]:
    """A file's rows in the table's columns, without those that are deleted."""
    gone = deleted.get(file.file_path, ())
    at = 0
    for batch in _read(table, file, None, rows_at_once):
        places = range(at, at + batch.num_rows)
        at += batch.num_rows
        rows = fitted(batch, spec.schema)
        yield rows.filter(pa.array([place not in gone for place in places])) if gone else rows


def _read(
    table: Table, file: DataFile, columns: list[str] | None, rows_at_once: int
) -> Iterator[pa.RecordBatch]:
    with _open(table, file.file_path) as source:
        # Through a buffer, page by page: a row group of another writer may be larger than memory.
        parquet = pq.ParquetFile(source, buffer_size=2**18, pre_buffer=False)
        yield from parquet.iter_batches(rows_at_once, columns=columns, use_threads=False)


def _open(table: Table, address: str) -> Any:
    """A file that both libraries take; their types do not know of each other."""
    return table.io.new_input(address).open()


def _deleted_places(table: Table, deletes: Collection[str]) -> dict[str, set[int]]:
    """The places of deleted rows in each data file."""
    places: dict[str, set[int]] = {}
    for address in deletes:
        with _open(table, address) as source:
            for batch in pq.ParquetFile(source).iter_batches(columns=["file_path", "pos"]):
                for path, place in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    places.setdefault(path, set()).add(place)
    return places
