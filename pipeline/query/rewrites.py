"""What Trino and DuckDB call alike and mean differently, put into words by which DuckDB means Trino's.

sqlglot leaves it as it is: ``UNNEST`` of rows, whole units of ``date_diff``, a time in a zone, ``$1`` of a
replacement, NULL where nothing is found. What cannot be put so stands in docs/query.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import sqlglot
from sqlglot import exp

_PLACES = re.compile(r"%(?:%|[^a-zA-Z%]*([a-zA-Z]))")
# A group, or a character that a backslash makes an ordinary one.
_GROUPS = re.compile(r"\\(.)|\$([0-9])")
_MATCHES = {
    "ANY_MATCH": "len(list_filter({array}, {test})) > 0",
    "ALL_MATCH": "len(list_filter({array}, {test})) = len({array})",
    "NONE_MATCH": "len(list_filter({array}, {test})) = 0",
}


def rewrite(query: exp.Expr) -> None:
    """Change a query of Athena in place, so that DuckDB's SQL of it means what it means there."""
    for unnest in list(query.find_all(exp.Unnest)):
        _rewrite_unnest(unnest)
    # What stands inside comes first: it is part of what is made of its surroundings.
    for node in reversed(list(query.walk())):
        made = _REWRITES.get(type(node), _same)(node)
        if made is not node:
            node.replace(made)


def _rewrite_unnest(unnest: exp.Unnest) -> None:
    """``UNNEST`` as a subquery, where Trino makes columns of rows and DuckDB would give one struct.

    One array with two or more columns after AS is an array of rows; without any, and among several
    arrays, only a column called ``results`` is taken for one. ``AS t (r)`` keeps the struct.
    """
    arrays, alias = unnest.expressions, unnest.args.get("alias")
    columns = list(alias.columns) if alias is not None else []
    if len(arrays) == 1 and (len(columns) == 1 or (not columns and not _is_results(arrays[0]))):
        return
    whole = [
        _call("unnest", array, rows=_is_results(array) or (len(arrays) == 1 and len(columns) > 1))
        for array in arrays
    ]
    ordinality = unnest.args.get("offset")
    if ordinality:
        number = _call("generate_subscripts", arrays[0], exp.Literal.number(1))
        name = ordinality.name if isinstance(ordinality, exp.Identifier) else "ordinality"
        whole.append(exp.Alias(this=number, alias=exp.to_identifier(name)))
        if columns:
            columns.append(exp.to_identifier(name))
    inner = exp.Subquery(this=exp.Select(expressions=whole))
    named = exp.TableAlias(
        this=alias.this if alias is not None and alias.this else exp.to_identifier("unnested"),
        columns=columns,
    )
    if isinstance(unnest.parent, exp.Join):
        unnest.replace(exp.Lateral(this=inner, alias=named))
    else:
        inner.set("alias", named)
        unnest.replace(inner)


def _call(name: str, *arguments: exp.Expression, rows: bool = False) -> exp.Expression:
    depth = [exp.PropertyEQ(this=exp.to_identifier("max_depth"), expression=exp.Literal.number(2))]
    copies = [argument.copy() for argument in arguments]
    return exp.Anonymous(this=name, expressions=[*copies, *(depth if rows else [])])


def _is_results(array: exp.Expression) -> bool:
    return isinstance(array, exp.Column) and array.name.lower() == "results"


def _same(node: exp.Expr) -> exp.Expr:
    return node


def _date_diff(node: Any) -> exp.Expr:
    unit = exp.Literal.string(node.text("unit").lower() if node.args.get("unit") else "day")
    return exp.Anonymous(this="date_sub", expressions=[unit, node.expression, node.this])


def _cardinality(node: Any) -> exp.Expr:
    # Of maps too, which sqlglot takes for arrays.
    return exp.Anonymous(this="cardinality", expressions=[node.this])


def _count_if(node: Any) -> exp.Expr:
    # DuckDB's own is NULL where no condition is known, and wider than a bigint.
    return exp.Count(this=exp.Case().when(node.this, exp.Literal.number(1)))


def _at_time_zone(node: Any) -> exp.Expr:
    # A time without a zone is in UTC; DuckDB would take it for one of that zone.
    moment = exp.cast(node.this, exp.DataType.Type.TIMESTAMPTZ)
    return exp.Anonymous(this="timezone", expressions=[node.args["zone"], moment])


def _regexp_extract(node: Any) -> exp.Expr:
    found = exp.RegexpLike(this=node.this.copy(), expression=node.expression.copy())
    return exp.paren(exp.Case().when(found, node.copy()))


def _regexp_replace(node: Any) -> exp.Expr:
    given = node.args.get("replacement")
    if isinstance(given, exp.Literal):
        node.set("replacement", exp.Literal.string(_GROUPS.sub(_group, given.name)))
    return _same(node)


def _group(found: re.Match[str]) -> str:
    plain, number = found.groups()
    return f"\\{number}" if number is not None else "\\\\" if plain == "\\" else plain


def _split_part(node: Any) -> exp.Expr:
    parts = exp.Anonymous(this="string_split", expressions=[node.this.copy(), node.args["delimiter"].copy()])
    there = exp.LTE(
        this=node.args["part_index"].copy(), expression=exp.Anonymous(this="len", expressions=[parts])
    )
    return exp.paren(exp.Case().when(there, node.copy()))


def _match(node: Any) -> exp.Expr:
    name = node.name.upper()
    if name not in _MATCHES or len(node.expressions) != 2:
        return _same(node)
    array, test = (one.sql("duckdb") for one in node.expressions)
    return exp.paren(sqlglot.parse_one(_MATCHES[name].format(array=array, test=test), read="duckdb"))


def _printf(node: Any) -> exp.Expr:
    # In DuckDB ``%s`` takes text only.
    pattern, values = node.this, node.expressions
    kinds = [kind for kind in _PLACES.findall(pattern.name) if kind] if pattern.is_string else []
    given = [
        exp.cast(value, "text") if kind == "s" else value
        for value, kind in zip_longest(values, kinds[: len(values)])
    ]
    return exp.Anonymous(this="printf", expressions=[pattern, *given])


_REWRITES: dict[type[exp.Expr], Callable[[Any], exp.Expr]] = {
    exp.Anonymous: _match,
    exp.ArraySize: _cardinality,
    exp.AtTimeZone: _at_time_zone,
    exp.CountIf: _count_if,
    exp.DateDiff: _date_diff,
    exp.Format: _printf,
    exp.RegexpExtract: _regexp_extract,
    exp.RegexpReplace: _regexp_replace,
    exp.SplitPart: _split_part,
}
