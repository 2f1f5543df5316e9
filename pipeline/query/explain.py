"""What a query will read, without running it: from the lake's own snapshots, or from what Athena says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pipeline.errors import Misuse
from pipeline.query.athena import AthenaQuery
from pipeline.query.athena_rows import first_json, lines
from pipeline.query.dialect import check_reads
from stages.tables import EVERY_TABLE

# Nobody asks for a part: it only keeps a partition's files apart.
_NARROWING = {spec.name: [column for column in spec.partition if column != "part"] for spec in EVERY_TABLE}
_BOUNDS = {"low": {"EXACTLY": ">=", "ABOVE": ">"}, "high": {"EXACTLY": "<=", "BELOW": "<"}}


class Reading(msgspec.Struct, frozen=True):
    """A table that a query reads: the conditions that reach it, their columns, and how much is left."""

    table: str
    where: tuple[str, ...]
    columns: frozenset[str]
    size: str


def sentences(readings: Sequence[Reading]) -> list[str]:
    """A line a reading, and what would make it less."""
    if not readings:
        return ["the query reads no table"]
    told = []
    for one in dict.fromkeys(readings):
        times = readings.count(one)
        where = f" where {' and '.join(one.where)}" if one.where else ", all of it"
        told.append(f"reads {one.table}{where}: {one.size}" + (f"; {times} times over" if times > 1 else ""))
        narrowing = _NARROWING.get(one.table.rpartition(".")[2], [])
        if narrowing and not one.columns.intersection(narrowing):
            told.append(f"  no condition reaches its partitions: one on {' or '.join(narrowing)} reads less")
    return told


def athena_readings(athena: AthenaQuery, sql: str) -> list[Reading]:
    """What Athena plans to read; nothing is read for it, and nothing billed.

    Raises what ``AthenaQuery.ask`` raises.
    """
    check_reads(sql, explained=True)
    statement = sql.strip().rstrip(";").rstrip()
    answer = athena.ask(f"EXPLAIN (TYPE IO, FORMAT JSON) {statement}")
    plan = first_json(lines(row for rows in answer.chunks() for row in rows))
    if not isinstance(plan, dict):
        raise Misuse("Athena explains this statement in no form that is known here: ask EXPLAIN itself")
    return [_reading(told) for told in plan.get("inputTableColumnInfos", ())]


def bytes_text(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _reading(told: Mapping[str, Any]) -> Reading:
    named = told["table"]["schemaTable"]
    # Trino's form of today and the one before it.
    constraints = (told.get("constraint") or told).get("columnConstraints", ())
    return Reading(
        f"{named['schema']}.{named['table']}",
        tuple(_condition(one) for one in constraints),
        frozenset(one["columnName"] for one in constraints),
        _estimate(told.get("estimate") or {}),
    )


def _condition(constraint: Mapping[str, Any]) -> str:
    name, domain = constraint["columnName"], constraint["domain"]
    ranges = domain.get("ranges", ())
    points = [one["low"]["value"] for one in ranges if _is_point(one)]
    if not ranges:
        return f"{name} is NULL" if domain.get("nullsAllowed") else f"{name} has no possible value"
    if len(points) == len(ranges):
        return f"{name} = {points[0]}" if len(points) == 1 else f"{name} in ({', '.join(points)})"
    return f"{name} {' or '.join(map(_between, ranges))}"


def _is_point(one: Mapping[str, Any]) -> bool:
    low, high = one.get("low", {}), one.get("high", {})
    return (
        low.get("bound") == high.get("bound") == "EXACTLY"
        and "value" in low
        and low.get("value") == high.get("value")
    )


def _between(one: Mapping[str, Any]) -> str:
    if _is_point(one):
        return f"= {one['low']['value']}"
    sides = [
        f"{_BOUNDS[side][one[side]['bound']]} {one[side]['value']}"
        for side in ("low", "high")
        if one.get(side, {}).get("value") is not None and one[side].get("bound") in _BOUNDS[side]
    ]
    return " and ".join(sides) if sides else "is not NULL"


def _estimate(told: Mapping[str, Any]) -> str:
    rows, size = _number(told.get("outputRowCount")), _number(told.get("outputSizeInBytes"))
    parts = []
    if rows is not None:
        parts.append(f"{rows:,.0f} rows")
    if size is not None:
        parts.append(bytes_text(size))
    return f"about {', '.join(parts)}" if parts else "Athena has no estimate of how much"


def _number(told: Any) -> float | None:
    try:
        number = float(told)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
