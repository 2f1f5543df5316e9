"""The section that says what a function runs on: a column a configuration, a row a reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from stages.measure import Reading
from stages.measure_report.figures import Measured
from stages.measure_report.markup import (
    NOTHING,
    Html,
    badge,
    duration,
    joined,
    milliseconds,
    table,
    tag,
)

Row = tuple[str, Callable[[Reading], object]]

COLUMNS: tuple[Row, ...] = (
    ("Architecture", lambda row: row.architecture),
    ("Operating system", lambda row: row.os_release),
    ("Kernel", lambda row: row.kernel),
    ("Processor", lambda row: row.cpu_model),
    ("Processors", lambda row: row.cpu_count),
)
"""What has a column of its own in the table, and is a property of the place."""

PASSING: tuple[Row, ...] = (
    ("Boot id", lambda row: tag("code", row.boot_id)),
    ("Environment", lambda row: tag("code", row.environment)),
    ("Start", lambda row: badge("cold", "new") if row.cold else badge("warm", "same")),
    ("Time to initialise", lambda row: milliseconds(row.init_ms)),
    ("Idle before its first invocation", lambda row: milliseconds(row.idle_ms)),
    ("Start-up delay", lambda row: milliseconds(row.delay_ms)),
    ("Address", lambda row: row.address or row.echo_error or "not asked"),
    ("Error", lambda row: row.error or "none"),
)
"""What is another one each time."""

MOST_LISTED = 60
"""Entries of a list that are shown."""

DEEPEST = 4
"""Lists within lists that are laid out; what lies deeper is shown as it was written."""

UNITS = ("_bytes", "_kb", "_s")
"""How a reading's name ends that has a unit."""

SIZES = ("bytes", "_kb")


def environment_section(one: Measured) -> tuple[list[tuple[str, str]], Html]:
    """The tiles of the section, and the table below them."""
    rows = one.rows
    sizes = sorted({row.memory_mb for row in rows})
    tiles = [
        ("Operating system", _several(row.os_release for row in rows)),
        ("Processor", _several(row.cpu_model for row in rows)),
        ("Time to initialise", _span([row.init_ms for row in rows if row.init_ms is not None])),
        ("Memory sizes tried", f"{len(sizes)}"),
    ]
    found = [(name, [tell(row) for row in rows]) for name, tell in (*COLUMNS, *PASSING)]
    found += more(rows)
    head = ["Reading", *(configuration(row) for row in rows)]
    lines = ((name, *told) for name, told in found)
    return tiles, table("What each configuration runs on", head, lines, roomy=True)


def configuration(row: Reading) -> str:
    """What tells the probes of such an experiment apart."""
    return f"{row.memory_mb:,} MB, {row.function}"


def more(rows: Sequence[Reading]) -> list[tuple[str, list[object]]]:
    """What stands in the probes' further readings, by name; a probe that lacks one has a dash."""
    told = [readings_of(row) for row in rows]
    names = list(dict.fromkeys(name for one in told for name in one))
    return [
        (_named(name), [shown(one[name], name) if name in one else NOTHING for one in told]) for name in names
    ]


def readings_of(row: Reading) -> dict[str, Any]:
    """A probe's further readings; what is no JSON object is shown as it is."""
    try:
        told = msgspec.json.decode(row.readings)
    except (msgspec.DecodeError, RecursionError):
        told = row.readings
    return told if isinstance(told, dict) else {"readings": told}


def shown(value: object, name: str = "", depth: int = 0) -> object:
    """A reading for people: sizes in their unit, lists a line an entry."""
    if isinstance(value, Mapping | list) and depth == DEEPEST:
        return tag("code", msgspec.json.encode(value).decode())
    if isinstance(value, Mapping):
        # What stands below a name in kilobytes is in kilobytes.
        unit = next((ending for ending in UNITS if name.endswith(ending)), "")
        lines = (
            tag("li", f"{_named(str(key))}: ", shown(one, f"{key}{unit}", depth + 1))
            for key, one in value.items()
        )
        return tag("ul", *lines)
    if isinstance(value, list):
        left = len(value) - MOST_LISTED
        entries = [tag("li", _line(one, depth + 1)) for one in value[:MOST_LISTED]]
        return tag("ul", *entries, tag("li", f"and {left} more") if left > 0 else "") if entries else "none"
    if value is None:
        return "unknown"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _measured(value, name)
    return value


def _line(value: object, depth: int) -> object:
    """An entry of a list on one line: what it has, sizes in their unit, numbers with their name."""
    if not isinstance(value, Mapping):
        return shown(value, depth=depth)
    parts: list[object] = []
    for name, one in value.items():
        if one in ("", None):
            continue
        told = tag("code", one) if name == "path" else shown(one, str(name), depth)
        if isinstance(one, bool):
            told = str(name) if one else f"not {name}"
        bare = isinstance(one, int | float) and not isinstance(one, bool) and not str(name).endswith(SIZES)
        parts += [" · ", f"{name} " if bare else "", told]
    return joined(parts[1:])


def _measured(value: float, name: str) -> str:
    if name.endswith("_s"):
        return duration(value)
    if name.endswith(SIZES):
        size = value * (1024 if name.endswith("_kb") else 1)
        for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
            if abs(size) < 1024 or unit == "TiB":
                words = f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.4g} {unit}"
                return f"{words} free" if name.startswith("free") else words
            size /= 1024
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else f"{value}"


def _named(name: str) -> str:
    for ending in UNITS:
        name = name.removesuffix(ending)
    return name.replace("_", " ").capitalize() if name.islower() else name


def _several(values: Any) -> str:
    found = list(dict.fromkeys(value for value in values if value))
    return found[0] if len(found) == 1 else f"{len(found)} different" if found else "unknown"


def _span(values: Sequence[float]) -> str:
    if not values:
        return "unknown"
    low, high = min(values), max(values)
    return milliseconds(low) if low == high else f"{milliseconds(low)} to {milliseconds(high)}"
