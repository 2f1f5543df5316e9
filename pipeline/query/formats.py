"""An answer as CSV, JSON or Parquet, streamed: a chunk or row group is held, never all rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import Misuse
from pipeline.query.engine import Answer

GROUP_BYTES = 32 << 20
"""Of a Parquet row group, before it is compressed."""

_QUOTED = frozenset(',"\r\n')


def write_csv(answer: Answer, out: BinaryIO) -> int:
    """CSV after RFC 4180 in UTF-8 with a header; gives the number of rows.

    NULL is an empty field and empty text a quoted one; lists and rows are JSON; times are ISO 8601.
    """
    out.write(_csv_line(column.name for column in answer.columns))
    count = 0
    for rows in answer.chunks():
        out.write(b"".join(_csv_line(map(_csv_value, row)) for row in rows))
        count += len(rows)
    return count


def write_json(answer: Answer, out: BinaryIO) -> int:
    """One JSON array with an object a row, one a line; gives the number of rows.

    Times are ISO 8601 in UTC, decimals become numbers, and what JSON has no number for (NaN) null.
    Raises ``Misuse`` where two columns have one name.
    """
    names = _distinct(answer)
    out.write(b"[")
    count = 0
    for rows in answer.chunks():
        for row in rows:
            out.write(b",\n" if count else b"\n")
            out.write(_json(dict(zip(names, map(_plain, row), strict=True))))
            count += 1
    out.write(b"\n]\n" if count else b"]\n")
    return count


def write_parquet(answer: Answer, out: BinaryIO) -> int:
    """One Parquet file (zstd); gives the number of rows.

    Raises ``Misuse`` where two columns have one name.
    """
    _distinct(answer)
    # Parquet knows no column without a type and no interval.
    schema = pa.schema([pa.field(field.name, _parquet_type(field.type)) for field in answer.schema])
    count = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for group in _groups(answer.batches()):
            columns = [
                _parquet_column(column, field.type)
                for column, field in zip(group.columns, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            count += group.num_rows
    return count


def text_of(value: Any) -> str:
    """A value that is not None as text, the same in CSV and on the terminal."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat(sep=" ")
        case date() | time():
            return value.isoformat()
        case list() | dict() | tuple():
            return _json(_plain(value)).decode()
        case bytes():
            return value.hex()
        case _:
            return str(value)


def _csv_value(value: Any) -> str | None:
    return None if value is None else text_of(value)


def _csv_line(fields: Iterable[str | None]) -> bytes:
    return (",".join(map(_csv_field, fields)) + "\r\n").encode()


def _csv_field(field: str | None) -> str:
    if field is None:
        return ""
    if not field or not _QUOTED.isdisjoint(field):
        return '"' + field.replace('"', '""') + '"'
    return field


def _json(value: Any) -> bytes:
    return orjson.dumps(value, default=text_of, option=orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    """A value in JSON's terms: Arrow gives maps as pairs, and tuples that are no pairs as intervals."""
    match value:
        case Decimal():
            return float(value)
        case float():
            return value if math.isfinite(value) else None
        case list() if value and all(isinstance(one, tuple) and len(one) == 2 for one in value):
            return {name if isinstance(name, str) else text_of(name): _plain(given) for name, given in value}
        case list():
            return [_plain(one) for one in value]
        case dict():
            return {name: _plain(given) for name, given in value.items()}
        case tuple():
            return str(value)
        case _:
            return value


def _parquet_type(kind: pa.DataType) -> pa.DataType:
    no_place = pa.types.is_null(kind) or pa.types.is_interval(kind)
    return pa.string() if no_place else kind


def _parquet_column(column: pa.ChunkedArray[Any], kind: pa.DataType) -> pa.ChunkedArray[Any]:
    if column.type == kind:
        return column
    text = [None if value is None else str(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(text, pa.string())])


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches together: a row group of one batch would be too small to compress and to skip well."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(one.nbytes for one in waiting) >= GROUP_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _distinct(answer: Answer) -> list[str]:
    names = [column.name for column in answer.columns]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise Misuse(f"two columns are called {twice[0]}: tell them apart with AS, or ask for csv")
    return names


WRITERS: dict[str, Callable[[Answer, BinaryIO], int]] = {
    "csv": write_csv,
    "json": write_json,
    "parquet": write_parquet,
}
"""By the name of the format; the terminal's table is ``terminal.write_table``."""
