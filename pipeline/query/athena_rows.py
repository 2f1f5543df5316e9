"""Athena's answers as Arrow: every value comes as text, beside the type of its column."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.query.engine import Column

_Parse = Callable[[str], Any]
_Row = Mapping[str, Any]

_PLAIN: dict[str, tuple[pa.DataType, _Parse]] = {
    "boolean": (pa.bool_(), lambda text: text == "true"),
    "tinyint": (pa.int8(), int),
    "smallint": (pa.int16(), int),
    "integer": (pa.int32(), int),
    "bigint": (pa.int64(), int),
    "real": (pa.float32(), float),
    "float": (pa.float32(), float),
    "double": (pa.float64(), float),
    "date": (pa.date32(), date.fromisoformat),
    "timestamp": (pa.timestamp("us"), datetime.fromisoformat),
}
"""Everything else stays the text that Athena made of it: arrays, rows, maps, times with a zone."""


class Kind(msgspec.Struct, frozen=True):
    """A column of an answer: how it is called, what Arrow makes of it, and how its text is read."""

    column: Column
    type: pa.DataType
    parse: _Parse


def kinds_of(page: Mapping[str, Any]) -> tuple[Kind, ...]:
    """The columns of an answer, as its first page describes them."""
    return tuple(_kind(told) for told in page["ResultSet"].get("ResultSetMetadata", {}).get("ColumnInfo", ()))


def batches(kinds: Sequence[Kind], pages: Iterable[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
    """The rows of an answer's pages, a batch a page, without the column names on top."""
    schema = pa.schema([pa.field(kind.column.name, kind.type) for kind in kinds])
    for number, page in enumerate(pages):
        rows: Sequence[_Row] = page["ResultSet"].get("Rows", ())
        if number == 0 and rows and _is_header(kinds, rows[0]):
            rows = rows[1:]
        columns = [
            pa.array([_value(kind, row, at) for row in rows], kind.type) for at, kind in enumerate(kinds)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def lines(rows: Iterable[Sequence[Any]]) -> str:
    """Rows of one text column as one text: Athena cuts what EXPLAIN says into a row a line."""
    return "\n".join("" if row[0] is None else str(row[0]) for row in rows)


def first_json(text: str) -> Any:
    """The JSON document that stands in a text, or None."""
    start = text.find("{")
    try:
        return json.JSONDecoder().raw_decode(text, start)[0] if start >= 0 else None
    except ValueError:
        return None


def _kind(told: Mapping[str, Any]) -> Kind:
    name, kind = str(told.get("Label") or told["Name"]), str(told["Type"]).lower()
    if kind == "decimal":
        precision, scale = int(told.get("Precision", 38)), int(told.get("Scale", 0))
        return Kind(Column(name, f"decimal({precision},{scale})"), pa.decimal128(precision, scale), Decimal)
    arrow, parse = _PLAIN.get(kind, (pa.string(), str))
    return Kind(Column(name, kind), arrow, parse)


def _is_header(kinds: Sequence[Kind], row: _Row) -> bool:
    return [one.get("VarCharValue") for one in row.get("Data", ())] == [kind.column.name for kind in kinds]


def _value(kind: Kind, row: _Row, at: int) -> Any:
    data = row.get("Data", ())
    # NULL is a value without a text, which is another thing than a text without a letter.
    text = data[at].get("VarCharValue") if at < len(data) else None
    return None if text is None else kind.parse(text)
