"""Compact: which files of a partition become one, and the merge of their rows into one sorted file.

Memory is bounded whatever the partition holds: rows wait in sorted runs outside of it, and of each
run a few hundred rows are looked at at a time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from stages.tables import CLOSINGS, PAGES, ROWS_A_GROUP, SHARDS

TARGET_BYTES = 256 * 2**20
"""Of a file of Parquet. One keyword's look-up reads its footer and one row group."""

MOST_FILES = 2_000
"""Files that one commit replaces: a conflict that cannot be mended costs no more work than this."""

ALONE_BYTES = 16 * 2**20
"""Smaller files pass through a run; of larger ones, few enough fit a group to be read side by side."""

RUN_BYTES = 64 * 2**20
"""Of Arrow, that are sorted in memory at a time."""

ROWS_A_LOOK = 512
"""Rows of a run that are held while runs are merged."""

SORT = {
    PAGES.name: ("keyword", "page"),
    SHARDS.name: ("run_id", "part"),
    CLOSINGS.name: ("source", "happened_at"),
}
"""By which columns the rows of a table's file are sorted."""

_Key = tuple[tuple[bool, Any], ...]
"""A row's place in the order: nulls last, as Arrow sorts them."""


class FileFacts(msgspec.Struct, frozen=True):
    """A data file as the table describes it; ``cut`` says that some of its rows are deleted."""

    path: str
    size: int
    rows: int
    cut: bool = False


class Spool(Protocol):
    """A place outside of memory for one run: what was written is read back in the same order."""

    def write(self, rows: pa.Table) -> None:
        """Take rows, in batches of at most ``ROWS_A_LOOK``."""

    def read(self) -> Iterator[pa.RecordBatch]:
        """Give them back."""


def plan(files: Iterable[FileFacts], target: int = TARGET_BYTES) -> list[tuple[FileFacts, ...]]:
    """The groups of files that are to become one file each; the same for the same files in any order.

    A file that is large enough is left alone unless rows of it are deleted. A smaller one is
    rewritten only beside others that are together at least half as large, so that a byte is
    rewritten a logarithm of times however often small files arrive.
    """
    # Three quarters: what came out of a full group counts as full, though it packs better there.
    pending = [file for file in files if file.cut or file.size < target * 3 // 4]
    pending.sort(key=lambda file: (file.size, file.path))
    groups: list[list[FileFacts]] = []
    room = 0
    for file in pending:
        if not groups or file.size > room or len(groups[-1]) >= MOST_FILES:
            groups.append([])
            room = target
        groups[-1].append(file)
        room -= file.size
    return [group for group in map(_worth_it, groups) if group]


def _worth_it(group: list[FileFacts]) -> tuple[FileFacts, ...]:
    """The group without its largest files as long as they would grow by less than half."""
    while group and not group[-1].cut and sum(file.size for file in group[:-1]) * 2 < group[-1].size:
        group = group[:-1]
    if len(group) > 1 or any(file.cut for file in group):
        return tuple(group)
    return ()


def fitted(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows of any file of the table in its columns, found by field id; NULL where the file lacks one."""
    whole = pa.StructArray.from_arrays(rows.columns, fields=list(rows.schema))
    fields = [_fitted(whole, rows.schema, field) for field in schema]
    return pa.RecordBatch.from_arrays(fields, schema=schema)


def _fitted(rows: pa.StructArray, there: Iterable[pa.Field[Any]], wanted: pa.Field[Any]) -> pa.Array[Any]:
    at = next((at for at, field in enumerate(there) if _id(field) == _id(wanted)), None)
    if at is None:
        missing: pa.Array[Any] = pa.nulls(len(rows), wanted.type)
        return missing
    return _cast(_field(rows, at), wanted.type)


def _field(rows: pa.StructArray, at: int) -> pa.Array[Any]:
    # ``field`` would give the values that stand below a row that is NULL itself.
    values: pa.Array[Any] = rows.flatten()[at]
    return values


def _cast(values: pa.Array[Any], kind: pa.DataType) -> pa.Array[Any]:
    if values.type.equals(kind, check_metadata=True):
        return values
    if isinstance(values, pa.ListArray) and isinstance(kind, pa.ListType):
        # The whole of the elements under the same offsets: a slice keeps its place in them.
        elements = _cast(values.values, kind.value_type)
        return pa.ListArray.from_buffers(
            kind, len(values), values.buffers()[:2], values.null_count, values.offset, [elements]
        )
    if isinstance(values, pa.StructArray) and isinstance(kind, pa.StructType):
        fields = [_fitted(values, list(values.type), field) for field in kind]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=values.is_null())
    cast: pa.Array[Any] = pc.cast(values, kind)
    return cast


def _id(field: pa.Field[Any]) -> bytes | None:
    return (field.metadata or {}).get(b"PARQUET:field_id")


def is_sorted(batches: Iterable[pa.RecordBatch], sort: Sequence[str]) -> bool:
    """Whether rows, of which the sorting columns are enough, are in order within and across batches."""
    last: _Key | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        if last is not None and _key(batch, 0, sort) < last:
            return False
        # Sorting is stable: the order of sorted rows is their own.
        order = pc.sort_indices(batch, sort_keys=[(name, "ascending") for name in sort])
        if not order.equals(pa.array(range(batch.num_rows), pa.uint64())):
            return False
        last = _key(batch, batch.num_rows - 1, sort)
    return True


def spooled(
    batches: Iterable[pa.RecordBatch],
    sort: Sequence[str],
    new_spool: Callable[[], Spool],
    most: int = RUN_BYTES,
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Rows in any order as sorted runs, each of about ``most`` bytes."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if batch.num_rows:
            waiting.append(batch)
            size += batch.nbytes
        if size >= most:
            yield _spool(waiting, sort, new_spool())
            waiting, size = [], 0
    if waiting:
        yield _spool(waiting, sort, new_spool())


def _spool(batches: list[pa.RecordBatch], sort: Sequence[str], spool: Spool) -> Iterator[pa.RecordBatch]:
    spool.write(_sorted(pa.Table.from_batches(batches), sort))
    return spool.read()


def merged(
    runs: Iterable[Iterator[pa.RecordBatch]], sort: Sequence[str], rows_a_group: int = ROWS_A_GROUP
) -> Iterator[pa.Table]:
    """The rows of sorted runs in one order, a row group at a time."""
    heads = [head for head in (_Head(run, sort) for run in runs) if head.fill()]
    waiting: list[pa.RecordBatch] = []
    count = 0
    while heads:
        # Every run has shown its rows up to here, so nothing smaller can come any more.
        bound = min(head.last for head in heads)
        for head in heads:
            rows = head.take(bound)
            if rows.num_rows:
                waiting.append(rows)
                count += rows.num_rows
        heads = [head for head in heads if head.fill()]
        if count >= rows_a_group:
            whole = _sorted(pa.Table.from_batches(waiting), sort)
            ready = count - count % rows_a_group
            for at in range(0, ready, rows_a_group):
                yield whole.slice(at, rows_a_group)
            count -= ready
            waiting = whole.slice(ready).to_batches() if count else []
    if waiting:
        yield _sorted(pa.Table.from_batches(waiting), sort)


class _Head:
    """The next rows of a run."""

    def __init__(self, run: Iterator[pa.RecordBatch], sort: Sequence[str]) -> None:
        self._run = run
        self._sort = sort
        self._rows: pa.RecordBatch | None = None
        self.last: _Key = ()

    def fill(self) -> bool:
        """Have a row, if there is one."""
        while self._rows is None or not self._rows.num_rows:
            self._rows = next(self._run, None)
            if self._rows is None:
                return False
            if self._rows.num_rows:
                self.last = _key(self._rows, self._rows.num_rows - 1, self._sort)
        return True

    def take(self, bound: _Key) -> pa.RecordBatch:
        """The rows up to this place, taken away."""
        rows = self._rows
        assert rows is not None, "only a filled head is asked"  # noqa: S101  # for the type checker
        # All of them at once also where they are no sorted run after all: a merge always ends.
        count = rows.num_rows
        if self.last > bound:
            count = bisect_right(range(count), bound, key=lambda at: _key(rows, at, self._sort))
        self._rows = rows.slice(count)
        return rows.slice(0, count)


def _key(rows: pa.RecordBatch, at: int, sort: Sequence[str]) -> _Key:
    values = [rows.column(name)[at].as_py() for name in sort]
    return tuple((value is None, value if value is not None else 0) for value in values)


def _sorted(rows: pa.Table, sort: Sequence[str]) -> pa.Table:
    # One chunk: taking from many chunks costs a search a row.
    whole = rows.combine_chunks()
    return whole.take(pc.sort_indices(whole, sort_keys=[(name, "ascending") for name in sort]))
