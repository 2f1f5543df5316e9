"""docs/query.md: every query on it runs here and is Athena's SQL, and its tables are the real ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from pipeline.query import Lake
from stages.tables import TABLES, TableSpec
from stages.views import VIEWS, View
from tests.pipeline.query import functions
from tests.pipeline.query.answers import ANSWERS

PAGE = (Path(__file__).parents[3] / "docs" / "query.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


def test_there_are_twenty_one_questions() -> None:
    assert "## Twenty-one questions" in PAGE
    assert len(re.findall(r"^\*\*\d+\. ", PAGE, re.MULTILINE)) == 21
    assert len(QUERIES) >= 21


@pytest.mark.parametrize("number", range(1, len(QUERIES) + 1))
def test_an_example_answers_what_is_in_the_pages(asked: Lake, number: int) -> None:
    """It is Athena's SQL, and its answer over a small lake is the one worked out by hand, row by row.

    The lake has two runs on one day, two devices and two languages: whoever mixes them is seen.
    """
    sql = QUERIES[number - 1]
    assert isinstance(sqlglot.parse_one(sql, read="athena"), exp.Query)
    assert not functions.unknown(sql)
    rows = [row for chunk in asked.ask(sql).chunks() for row in chunk]
    assert rows == ANSWERS[number]


@pytest.mark.parametrize("view", VIEWS, ids=[view.name for view in VIEWS])
def test_the_page_names_each_views_columns(view: View) -> None:
    columns = ", ".join(f"`{column.name}`" for column in view.columns)
    assert f"| `{view.name}` | {view.row} | {columns} |" in PAGE


@pytest.mark.parametrize("spec", TABLES, ids=[spec.name for spec in TABLES])
def test_the_page_names_each_tables_columns(spec: TableSpec) -> None:
    tables, _, _ = PAGE.partition("## Views")
    assert all(f"`{field.name}`" in tables for field in spec.schema)
