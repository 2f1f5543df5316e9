"""The views as Athena keeps them: a Glue table that holds a SELECT instead of files.

Athena finds the SELECT in the table's text: base64 of a JSON document, between ``/* Presto View: ``
and `` */``. The document's column types are Trino's, the table's own are Hive's.
"""

from __future__ import annotations

import re

import msgspec
import orjson

from stages.measure_views import MEASURE_VIEWS
from stages.tables import EVERY_TABLE
from stages.views import ATHENA, VIEWS, View, render

CATALOG = "awsdatacatalog"
"""What Athena calls the account's own Glue catalog."""

EXPANDED_TEXT = "/* Presto View */"

# A time is timestamp(6) since that is what Athena reads from Iceberg, and since Trino widens a time
# to more digits but never cuts it to fewer: timestamp(3) would make every view "stale". Hive has one
# type of time, without a precision; a time with a zone is in neither list, Athena's views refuse it.
_HIVE_TYPES = {
    "varchar": "string",
    "integer": "int",
    "bigint": "bigint",
    "double": "double",
    "boolean": "boolean",
    "date": "date",
    "timestamp(6)": "timestamp",
}

_NAMES = [one.name for one in (*EVERY_TABLE, *VIEWS, *MEASURE_VIEWS)]

_RELATION = re.compile(rf"\b(FROM|JOIN) ({'|'.join(_NAMES)})\b")


class GlueColumn(msgspec.Struct, frozen=True):
    """A column as Glue knows it; its type as Hive names it."""

    name: str
    type: str


class StoredView(msgspec.Struct, frozen=True):
    """A view as it stands in Glue: what one row of it is, its SELECT, its columns, and Athena's text."""

    name: str
    description: str
    sql: str
    columns: tuple[GlueColumn, ...]
    original_text: str
    expanded_text: str = EXPANDED_TEXT
    table_type: str = "VIRTUAL_VIEW"


def stored_view(view: View, database: str) -> StoredView:
    """The view as Glue keeps it in a database: the same bytes for the same definition."""
    sql = _RELATION.sub(rf'\1 "{database}".\2', render(view, ATHENA))
    document = orjson.dumps(
        {
            "originalSql": sql,
            "catalog": CATALOG,
            "schema": database,
            "columns": [{"name": column.name, "type": column.type} for column in view.columns],
            # Whoever asks reads with rights of their own: a view opens no table to anyone.
            "runAsInvoker": True,
        }
    )
    return StoredView(
        view.name,
        f"A row is {view.row}.",
        sql,
        tuple(GlueColumn(column.name, _HIVE_TYPES[column.type]) for column in view.columns),
        # msgspec writes bytes as base64.
        f"/* Presto View: {msgspec.to_builtins(document)} */",
    )
