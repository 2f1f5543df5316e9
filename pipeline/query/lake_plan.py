"""What a query reads of a lake on this machine: DuckDB's plan, asked of the snapshots' file lists.

The plan is made over tables of the right columns without a row, so that a scan carries its table's
name and the conditions that reached it. Which files may hold such rows is for the snapshots to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import sqlglot
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import (
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    LessThan,
    LessThanOrEqual,
    Or,
)
from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline.iceberg import NAMESPACE, open_folder_catalog, translated
from pipeline.query.dialect import check_reads, translate
from pipeline.query.engine import SETTINGS, in_one_line
from pipeline.query.explain import Reading, bytes_text
from pipeline.query.functions import MACROS
from pipeline.query.live import live_tables, names_of, views_over
from stages.tables import EVERY_TABLE
from stages.views import DUCKDB, render

_OPTIONAL = "optional: "
_COMPARED: dict[type[exp.Expr], tuple[str, Any]] = {
    exp.EQ: ("=", EqualTo),
    exp.GT: (">", GreaterThan),
    exp.GTE: (">=", GreaterThanOrEqual),
    exp.LT: ("<", LessThan),
    exp.LTE: ("<=", LessThanOrEqual),
}


# By which the snapshots tell files apart: partitions, and the column that each file is sorted by.
_TELLING = frozenset({column for spec in EVERY_TABLE for column in spec.partition} | {"keyword"})


class _Condition(msgspec.Struct, frozen=True):
    """A condition in words, the columns that it binds, and the files' rows that meet it.

    One that is not understood has no words, and any row meets it.
    """

    words: str = ""
    columns: frozenset[str] = frozenset()
    rows: Any = AlwaysTrue()


def lake_readings(folder: Path, sql: str) -> list[Reading]:
    """The tables that a query in Athena's SQL reads, with the files that may hold what it looks for.

    Raises ``Misuse`` as the query itself would.
    """
    check_reads(sql, explained=True)
    tables = live_tables(folder)
    names = names_of(tables)
    with duckdb.connect(config=SETTINGS) as connection, in_one_line(names):
        # An empty table would be optimised away.
        connection.execute("SET disabled_optimizers = 'statistics_propagation'")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        for signature, body in MACROS.items():
            connection.execute(f"CREATE MACRO {signature} AS {body}")
        for table in tables:
            columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns)
            connection.execute(f"CREATE TABLE {table.name} ({columns})")
        for view in views_over(tables):
            connection.execute(f"CREATE VIEW {view.name} AS {render(view, DUCKDB)}")
        explained = f"EXPLAIN (FORMAT json) {translate(sql, names).sql}"
        plan = json.loads(connection.execute(explained).fetchall()[0][1])
    with translated(), closing(open_folder_catalog(folder.absolute())) as catalog:
        return [_reading(catalog, name, filters) for name, filters in _scans(plan)]


def _reading(catalog: Catalog, name: str, filters: Sequence[str]) -> Reading:
    table = catalog.load_table((NAMESPACE, name))
    conditions = [condition for text in filters for condition in _conditions(text)]
    where: BooleanExpression = AlwaysTrue()
    for condition in conditions:
        where = And(where, condition.rows)
    everything = [task.file.file_size_in_bytes for task in table.scan().plan_files()]
    opened = [task.file.file_size_in_bytes for task in table.scan(row_filter=where).plan_files()]
    files = f"{len(opened):,} of {len(everything):,} files" if everything else "no files yet"
    return Reading(
        name,
        tuple(condition.words for condition in conditions if condition.words),
        frozenset[str]().union(*(condition.columns for condition in conditions)),
        f"{files}, {bytes_text(sum(opened))} of {bytes_text(sum(everything))}",
    )


def _scans(nodes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    for node in nodes:
        told = node.get("extra_info", {})
        if "Table" in told:
            filters = told.get("Filters", [])
            yield str(told["Table"]).rpartition(".")[2], [filters] if isinstance(filters, str) else filters
        yield from _scans(node.get("children", ()))


def _conditions(text: str) -> list[_Condition]:
    """The conditions of a scan; one that is not understood narrows nothing."""
    try:
        tree = sqlglot.parse_one(text.removeprefix(_OPTIONAL), read="duckdb")
    except SqlglotError:
        return []
    whole = tree.unnest()
    parts = list(whole.flatten()) if isinstance(whole, exp.And) else [whole]
    return [_condition(part.unnest()) for part in parts]


def _condition(tree: exp.Expr) -> _Condition:
    if isinstance(tree, exp.Or | exp.And):
        return _joined(tree, _condition(tree.left.unnest()), _condition(tree.right.unnest()))
    column = tree.this
    if not isinstance(column, exp.Column):
        return _Condition()
    if isinstance(tree, exp.In) and tree.expressions:
        values = [_value(one) for one in tree.expressions]
        if all(value is not None for value in values):
            words = f"{column.name} in ({', '.join(str(value) for value in values)})"
            return _bound(column.name, words, In, values)
    if type(tree) in _COMPARED and (value := _value(tree.expression)) is not None:
        sign, compared = _COMPARED[type(tree)]
        return _bound(column.name, f"{column.name} {sign} {value}", compared, value)
    return _Condition()


def _joined(tree: exp.Or | exp.And, one: _Condition, other: _Condition) -> _Condition:
    if isinstance(tree, exp.And):
        words = " and ".join(side.words for side in (one, other) if side.words)
        return _Condition(words, one.columns | other.columns, And(one.rows, other.rows))
    if not (one.words and other.words):
        return _Condition()
    return _Condition(
        f"({one.words} or {other.words})", one.columns & other.columns, Or(one.rows, other.rows)
    )


def _bound(name: str, words: str, made: Any, given: Any) -> _Condition:
    rows = made(name, given) if name in _TELLING else AlwaysTrue()
    return _Condition(words, frozenset({name}), rows)


def _value(tree: exp.Expr) -> str | int | None:
    literal = tree.this if isinstance(tree, exp.Cast) else tree
    if not isinstance(literal, exp.Literal):
        return None
    if literal.is_string:
        return str(literal.this)
    return int(literal.this) if literal.this.isdigit() else None
