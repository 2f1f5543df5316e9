"""Aggregate: staged batches to Arrow, sorted by keyword, and to Parquet laid out for look-ups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.records import Closing, Malformed
from stages.shard import ShardRow
from stages.staged import PageColumns, Staged
from stages.tables import CLOSINGS, PAGES, RESULT, ROWS_A_GROUP, SHARDS

COMPRESSION_LEVEL = 3
"""Of zstd: level 9 writes at a quarter of the speed for 8% of the size."""

_DICTIONARIES = [
    *("run_id", "run_date", "source", "locale", "device", "keyword", "status", "reason", "lane", "event"),
    *("part", "batch_no", "cut", "page", "http_status", "attempts", "raw_key"),
    *("results.list.element.rank", "results.list.element.kind", "results.list.element.domain"),
]
"""Columns whose values repeat. A dictionary of the others is built, found useless and thrown away."""

STATUSES = frozenset({"ok", "refused", "failed"})

LONGEST_FOLDER = 200
"""Characters of a source's name as the name of a partition's folder; file systems take 255."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LAST_MOMENT = 253_402_300_800_000_000
"""Microseconds from 1970 to the year 10000: later times are none that Python can show."""


def page_batch(staged: Staged) -> pa.RecordBatch:
    """The pages of one staged batch in the columns of table ``pages``.

    Raises ``Malformed`` where one of them cannot be a row there.
    """
    with _fitting("the staged pages are no rows of table pages"):
        _check_pages(staged.columns.pages)
        return _page_batch(staged)


def _page_batch(staged: Staged) -> pa.RecordBatch:
    header, pages, results = staged.header, staged.columns.pages, staged.columns.results
    batch = header.batch
    rows = header.pages
    entries = pa.StructArray.from_arrays(
        [pa.array(getattr(results, field.name), field.type) for field in RESULT], fields=list(RESULT)
    )
    offsets = pa.array([0, *accumulate(pages.count)], pa.int32())
    constant: dict[str, Any] = {
        "run_id": batch.run_id,
        "part": batch.part,
        "batch_no": batch.batch_no,
        "cut": batch.cut,
        "run_date": _day(batch.run_date),
        "source": _folder(batch.source),
        "locale": batch.locale,
        "device": batch.device,
        "raw_key": None,
        "lane": header.lane,
    }
    columns = []
    for field in PAGES.schema:
        if field.name == "results":
            columns.append(pa.ListArray.from_arrays(offsets, entries, type=field.type))
        elif field.name in constant:
            columns.append(pa.repeat(pa.scalar(constant[field.name], field.type), rows))
        else:
            columns.append(pa.array(getattr(pages, field.name), field.type))
    return pa.record_batch(columns, schema=PAGES.schema)


def shard_table(rows: Sequence[ShardRow]) -> pa.Table:
    """Shard rows in the columns of table ``shards``. Raises ``Malformed`` where one cannot be a row there."""
    with _fitting("the staged shard row is no row of table shards"):
        columns = [
            pa.array(
                [
                    _day(row.run_date) if field.name == "run_date" else getattr(row, field.name)
                    for row in rows
                ],
                field.type,
            )
            for field in SHARDS.schema
        ]
        return pa.table(columns, schema=SHARDS.schema)


@contextmanager
def _fitting(what: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OverflowError, pa.ArrowException) as error:
        raise Malformed(f"{what}: {' '.join(str(error).split())}") from error


def _check_pages(pages: PageColumns) -> None:
    """What the columns' types alone do not say. Raises ``ValueError``."""
    unknown = sorted(set(pages.status) - STATUSES)
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no status")
    for name in ("requested_at", "fetched_at"):
        times: list[int] = getattr(pages, name)
        if times and not 0 <= min(times) <= max(times) < _LAST_MOMENT:
            raise ValueError(f"{name} is not between the years 1970 and 9999")


def _day(text: str) -> date:
    """A day in the one spelling by which the tables are looked into."""
    day = date.fromisoformat(text)
    if day.isoformat() != text:
        raise ValueError(f"{text!r} is no day as in 2026-01-31")
    return day


def _folder(source: str) -> str:
    if not 0 < len(quote_plus(source)) <= LONGEST_FOLDER:
        raise ValueError(f"a source of {len(source)} characters cannot name a partition's folder")
    return source


def closing_table(rows: Sequence[Closing]) -> pa.Table:
    """Closings in the columns of table ``closings``. Raises ``Malformed`` where one cannot be a row there."""
    with _fitting("the staged closing is no row of table closings"):
        columns = [
            pa.array([_closing_value(row, field.name) for row in rows], field.type)
            for field in CLOSINGS.schema
        ]
        return pa.table(columns, schema=CLOSINGS.schema)


def event_date(row: Closing) -> date:
    """The day, in UTC, on which it happened. Raises ``ValueError`` for a moment that no calendar has."""
    return (_EPOCH + timedelta(microseconds=_moment("happened_at", row.happened_at))).date()


def _closing_value(row: Closing, name: str) -> Any:
    if name == "event_date":
        return event_date(row)
    value = getattr(row, name)
    if name in ("happened_at", "closed_since", "closed_until") and value is not None:
        return _moment(name, value)
    return value


def _moment(name: str, seconds: float) -> int:
    """Whole microseconds since the epoch, as staged pages have them. ``ValueError`` outside of years."""
    moment = round(seconds * 1e6)
    if not 0 <= moment < _LAST_MOMENT:
        raise ValueError(f"{name} is not between the years 1970 and 9999")
    return moment


def write_parquet(table: pa.Table, schema: pa.Schema, sink: Any, sort: Sequence[str] = ()) -> pq.FileMetaData:
    """Write one data file to a binary sink and give its metadata.

    ``schema`` is the table's own with Iceberg's field ids. Rows are sorted row group by row group, so
    that no second copy of the table is held.
    """
    return write_groups(_sorted_groups(table, sort), schema, sink)


def write_groups(groups: Iterable[pa.Table], schema: pa.Schema, sink: Any) -> pq.FileMetaData:
    """The same of rows that come in order, a row group or several at a time."""
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=_DICTIONARIES,  # type: ignore[arg-type]  # the stubs know bool and str only
        write_page_index=True,
    ) as writer:
        for rows in groups:
            writer.write_table(rows, row_group_size=ROWS_A_GROUP)
    metadata: pq.FileMetaData = writer.writer.metadata
    return metadata


def _sorted_groups(table: pa.Table, sort: Sequence[str]) -> Iterator[pa.Table]:
    if not sort:
        yield table
        return
    # One chunk: taking from many chunks costs a search a row.
    whole = table.combine_chunks()
    order = pc.sort_indices(whole, sort_keys=[(name, "ascending") for name in sort])
    for at in range(0, whole.num_rows, ROWS_A_GROUP):
        yield whole.take(order.slice(at, ROWS_A_GROUP))
