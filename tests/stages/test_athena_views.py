"""The views' stored form in Athena, held by ``golden/views.json``: to be read there, and reviewed as a diff.

After a wanted change of a view, write the file anew: ``python -m tests.stages.test_athena_views``.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from stages.athena_views import stored_view
from stages.tables import TABLES
from stages.views import ATHENA, VIEWS, View, render

GOLDEN = Path(__file__).parent / "golden" / "views.json"
DATABASE = "serpline"
_NAMES = [view.name for view in VIEWS]


def decoded(original_text: str) -> Any:
    """The document in a view's text."""
    head, text, tail = original_text.partition("/* Presto View: ")[2].partition(" */")
    assert (text, tail) == (" */", "")
    return json.loads(base64.b64decode(head, validate=True))


def golden() -> str:
    """The stored form of every view, with its document decoded and its SELECT a line a line."""
    views = {}
    for view in VIEWS:
        stored = stored_view(view, DATABASE)
        document = decoded(stored.original_text)
        views[view.name] = {
            "description": stored.description,
            "table_type": stored.table_type,
            "expanded_text": stored.expanded_text,
            "columns": [f"{column.name} {column.type}" for column in stored.columns],
            "document": {
                **document,
                "columns": [f"{column['name']} {column['type']}" for column in document["columns"]],
                "originalSql": document["originalSql"].split("\n"),
            },
        }
    return json.dumps(views, indent=2, ensure_ascii=False) + "\n"


def test_the_stored_form_is_the_golden_one() -> None:
    """Whoever changes a view changes what every installation holds: that is to be seen and meant."""
    assert golden() == GOLDEN.read_text("utf-8"), f"{__doc__}"


@pytest.mark.parametrize("view", VIEWS, ids=_NAMES)
def test_the_text_is_what_athena_writes(view: View) -> None:
    """The comment around base64, and the five members of the document with its two of a column."""
    stored = stored_view(view, DATABASE)
    document = decoded(stored.original_text)
    assert stored.original_text.startswith("/* Presto View: ey")
    assert stored.expanded_text == "/* Presto View */"
    assert set(document) == {"originalSql", "catalog", "schema", "columns", "runAsInvoker"}
    assert (document["catalog"], document["schema"], document["runAsInvoker"]) == (
        "awsdatacatalog",
        DATABASE,
        True,
    )
    assert document["originalSql"] == stored.sql
    assert document["columns"] == [{"name": one.name, "type": one.type} for one in view.columns]


@pytest.mark.parametrize("view", VIEWS, ids=_NAMES)
def test_columns_have_hives_types_in_the_same_order(view: View) -> None:
    hive = {
        "varchar": "string",
        "integer": "int",
        "bigint": "bigint",
        "double": "double",
        "boolean": "boolean",
        "date": "date",
        "timestamp(6)": "timestamp",
    }
    stored = stored_view(view, DATABASE)
    assert [(one.name, one.type) for one in stored.columns] == [
        (column.name, hive[column.type]) for column in view.columns
    ]


@pytest.mark.parametrize("database", [DATABASE, "team_a_eu", "select"])
@pytest.mark.parametrize("view", VIEWS, ids=_NAMES)
@pytest.mark.parametrize("dialect", ["athena", "trino"])
def test_every_table_is_named_with_its_database_and_nothing_else_changes(
    view: View, database: str, dialect: str
) -> None:
    """A name that is a word of SQL stays a name; without the databases it is the definition itself."""
    tree = sqlglot.parse_one(stored_view(view, database).sql, read=dialect)
    inner = {cte.alias for cte in tree.find_all(exp.CTE)}
    known = {*(spec.name for spec in TABLES), *_NAMES}
    named = [table for table in tree.find_all(exp.Table) if table.name not in inner]
    assert named
    for table in named:
        assert table.name in known
        assert table.db == database
        assert table.catalog == ""
        table.set("db", None)
    assert tree == sqlglot.parse_one(render(view, ATHENA), read=dialect)


def test_no_view_calls_a_table_of_its_own_like_a_real_one() -> None:
    """A WITH of such a name would be taken for the table, and named with the database."""
    for view in VIEWS:
        tree = sqlglot.parse_one(render(view, ATHENA), read="athena")
        inner = {cte.alias for cte in tree.find_all(exp.CTE)}
        assert not inner & {*(spec.name for spec in TABLES), *_NAMES}


def test_times_have_no_zone_and_six_digits() -> None:
    """Athena refuses a time with a zone in a view, and takes one of three digits for a view gone stale."""
    types = {column.type for view in VIEWS for column in view.columns if "time" in column.type}
    assert types == {"timestamp(6)"}


if __name__ == "__main__":
    GOLDEN.write_text(golden(), "utf-8")
