"""Readings in the columns of table ``measurements``; a module of its own, as a probe needs no Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from stages.measure import TIMES, Reading
from stages.tables import MEASUREMENTS


def measurement_table(rows: Sequence[Reading]) -> pa.Table:
    """Readings in the columns of table ``measurements``."""
    columns = [
        pa.array(
            [_moment(getattr(row, field.name)) for row in rows]
            if field.name in TIMES
            else [getattr(row, field.name) for row in rows],
            field.type,
        )
        for field in MEASUREMENTS.schema
    ]
    return pa.table(columns, schema=MEASUREMENTS.schema)


def measured(rows: pa.Table) -> list[Reading]:
    """The readings in rows of the table; columns that this code does not know are left out."""
    known = rows.select([name for name in rows.column_names if name in Reading.__struct_fields__])
    return [_reading(row) for row in known.to_pylist()]


def _reading(row: dict[str, Any]) -> Reading:
    # What an older row lacks is as if it had never been said.
    told = {name: value for name, value in row.items() if value is not None}
    return Reading(**{**told, **{name: _seconds(row[name]) for name in TIMES}})


def _seconds(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()


def _moment(seconds: float) -> datetime:
    # Athena's views refuse times with a zone: they are written without one, in UTC.
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
