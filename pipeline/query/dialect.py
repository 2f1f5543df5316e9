"""Athena's SQL in DuckDB's words: one reading statement in, one out, or ``Misuse`` in one line.

sqlglot translates; what it leaves as it is and DuckDB understands differently, ``rewrites`` puts in
other words.
"""

from __future__ import annotations

import logging
import re

import msgspec
import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError, TokenError, UnsupportedError

from pipeline.errors import Misuse
from pipeline.query.rewrites import rewrite

# sqlglot tells its logger what it could not parse or say; here both are errors.
logging.getLogger("sqlglot").addHandler(logging.NullHandler())

_READ_ONLY = "a query may only read: start it with SELECT, WITH, VALUES, SHOW, DESCRIBE or EXPLAIN"
_EMPTY = "the query is empty: try SELECT * FROM runs"
_SHOWN = "understood are SHOW TABLES, SHOW VIEWS, SHOW COLUMNS FROM <table> and DESCRIBE <table>"
_NO_TABLE_FUNCTIONS = "FROM takes tables, views, subqueries and UNNEST here; no function is read as a table"
_ANALYZE = re.compile(r"\s+ANALYZE\b", re.IGNORECASE)
_HOW = re.compile(r"^(?:\s*(?:ANALYZE|VERBOSE|\((?=\s*(?:TYPE|FORMAT)\b)[^)]*\)))+", re.IGNORECASE)
_ROWS = ("SELECT", "WITH", "VALUES", "TABLE", "(")
_STARTS = (*_ROWS, "SHOW", "DESCRIBE", "DESC", "EXPLAIN")


class Names(msgspec.Struct, frozen=True):
    """The tables and views that a query may name."""

    tables: tuple[str, ...]
    views: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Both, sorted."""
        return tuple(sorted((*self.tables, *self.views)))


class Translated(msgspec.Struct, frozen=True):
    """One statement for DuckDB; ``plan`` where it asks for a query's plan and not for its rows."""

    sql: str
    plan: bool = False


def translate(sql: str, names: Names) -> Translated:
    """The statement for DuckDB.

    Raises ``Misuse`` for what is no single reading statement, names an unknown table, breaks the
    grammar, or has no words in DuckDB.
    """
    try:
        return _translated(sql, names)
    except ParseError as error:
        raise Misuse(_place(error)) from error
    except UnsupportedError as error:
        raise Misuse(f"this query runs in Athena only: {_one_line(str(error))}") from error
    except TokenError as error:
        raise Misuse(f"is a quote or a comment left open? {_one_line(str(error))}") from error
    except SqlglotError as error:
        raise Misuse(f"the query cannot be read: {_one_line(str(error))}") from error
    except RecursionError as error:
        raise Misuse("the query is nested too deeply: split it with WITH") from error


def check_reads(sql: str, *, explained: bool = False) -> None:
    """Raise ``Misuse`` for a statement that begins like none that only reads.

    What follows is not looked at: none that begins so writes. ``explained`` is for what is to stand
    after EXPLAIN: a query, and nothing else.
    """
    try:
        tokens = [token for token in sqlglot.tokenize(sql, read="trino") if token.text != ";"]
    except TokenError as error:
        raise Misuse(f"is a quote or a comment left open? {_one_line(str(error))}") from error
    if not tokens:
        raise Misuse(_EMPTY)
    first = tokens[0].text.upper()
    if explained and first not in _ROWS:
        raise Misuse("what a query will read is asked of a query: start it with SELECT, WITH or VALUES")
    if first not in _STARTS:
        raise Misuse(_READ_ONLY)
    if first == "EXPLAIN":
        # EXPLAIN ANALYZE runs what it explains.
        check_reads(_HOW.sub("", sql[tokens[0].end + 1 :], count=1), explained=True)


def unknown_table(name: str, names: Names) -> Misuse:
    """The error of a table that does not exist."""
    return Misuse(f"no table {name!r} here; there are {', '.join(names.all)}")


def _translated(sql: str, names: Names) -> Translated:
    tokens = [token for token in sqlglot.tokenize(sql, read="trino") if token.text != ";"]
    if not tokens:
        raise Misuse(_EMPTY)
    first, after = tokens[0].text.upper(), tokens[0].end + 1
    if first not in _STARTS:
        raise Misuse(_READ_ONLY)
    if first in ("SHOW", "DESCRIBE", "DESC"):
        return Translated(_shown([first, *sql[after:].replace(";", " ").split()], names))
    if first != "EXPLAIN":
        return Translated(_rows(sql, names))
    analyze = _ANALYZE.match(sql, after)
    end = analyze.end() if analyze is not None else after
    # Blanks in the place of EXPLAIN keep the lines and columns that errors name.
    rest = "".join(mark if mark == "\n" else " " for mark in sql[:end]) + sql[end:]
    return Translated(f"EXPLAIN {'ANALYZE ' if analyze else ''}{_rows(rest, names)}", plan=True)


def _shown(words: list[str], names: Names) -> str:
    match [word.upper() for word in words[:-1]], words[-1].upper():
        case (["SHOW"], ("TABLES" | "VIEWS") as what) | (
            ["SHOW", ("TABLES" | "VIEWS") as what, "IN" | "FROM"],
            _,
        ):
            listed = names.all if what == "TABLES" else tuple(sorted(names.views))
            rows = ", ".join(f"('{name}')" for name in listed)
            return f"SELECT name FROM (VALUES {rows}) AS shown (name) ORDER BY name"  # noqa: S608  # our names
        case (["SHOW", "COLUMNS", "IN" | "FROM"] | ["DESCRIBE" | "DESC"] | ["DESCRIBE", "FORMATTED"], _):
            name = words[-1].split(".")[-1].strip('"`').lower()
            if name not in names.all:
                raise unknown_table(words[-1], names)
            # The name is one of ours by now.
            return f'SELECT column_name AS "column", lower(column_type) AS type FROM (DESCRIBE {name})'  # noqa: S608
        case _:
            raise Misuse(_SHOWN)


def _rows(sql: str, names: Names) -> str:
    statements = [one for one in sqlglot.parse(sql, read="athena") if one is not None]
    if not statements:
        raise Misuse(_EMPTY)
    if len(statements) > 1:
        raise Misuse("one query at a time: there is more after the ;")
    query = statements[0]
    if not isinstance(query, exp.Query | exp.Values):
        raise Misuse(_READ_ONLY)
    _check(query, names)
    rewrite(query)
    text: str = query.sql("duckdb", unsupported_level=ErrorLevel.RAISE, comments=False)
    return text


def _check(query: exp.Query | exp.Values, names: Names) -> None:
    """Nothing but reading, and from nothing but what is known."""
    if query.find(exp.DML, exp.DDL, exp.Command, exp.Into, exp.Copy) is not None:
        raise Misuse(_READ_ONLY)
    known = {*names.all, *(cte.alias.lower() for cte in query.find_all(exp.CTE))}
    for lateral in query.find_all(exp.Lateral):
        if not isinstance(lateral.this, exp.Subquery | exp.Unnest):
            raise Misuse(_NO_TABLE_FUNCTIONS)
    for table in query.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            raise Misuse(_NO_TABLE_FUNCTIONS)
        if table.args.get("version") is not None:
            raise Misuse("FOR TIMESTAMP/VERSION AS OF is answered by Athena only: leave it out here")
        if table.name.lower() not in known or table.db.lower() == "information_schema":
            raise unknown_table(".".join(part.name for part in table.parts), names)
        # A lake is one database, whatever it is called in Athena.
        table.set("db", None)
        table.set("catalog", None)


def _place(error: ParseError) -> str:
    first = error.errors[0] if error.errors else {}
    what = _one_line(str(first.get("description", error))).split(" but got <Token")[0].rstrip(". ")
    near = str(first.get("highlight", "")).strip()
    return f"the SQL breaks at line {first.get('line', 1)}, column {first.get('col', 1)}" + (
        f", at {near!r}: {what}" if near else f": {what}"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
