"""Under which conditions an experiment ran, and how much of it came back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from stages.measure import Reading, tree_of
from stages.measure_report.figures import Measured
from stages.measure_report.markup import Html, duration, tag

NAMED = 12
"""Missing probes that are named."""

UNKNOWN = "not known"

Told = TypeVar("Told")


def planned(rows: Sequence[Reading]) -> int | None:
    """How many probes the experiment has; None in rows of an older serpline."""
    return max((row.planned for row in rows if row.planned is not None), default=None)


def missing(rows: Sequence[Reading]) -> tuple[str, ...]:
    """The probes that have no row, by slot; in a tree by level and slot, as their names end."""
    count, tree = planned(rows), _one([row.tree for row in rows])
    if count is None:
        return ()
    tree_like = rows[0].kind == "scaling"
    places = _tree(tree) if tree_like else [(0, slot) for slot in range(count)]
    there = {(row.level, row.slot) for row in rows}
    return tuple(
        f"{level}-{slot}" if tree_like else f"{slot}" for level, slot in places if (level, slot) not in there
    )


def _tree(tree: str | None) -> list[tuple[int, int]]:
    try:
        levels, width = tree_of(tree if tree is not None else "")
    except ValueError:
        return []
    return [(0, 0), *((level, slot) for level in range(1, levels + 1) for slot in range(width))]


def probes_of(rows: Sequence[Reading]) -> str:
    """``17 of 18 probes``: those that answered, of those that were planned."""
    count = planned(rows)
    if count is None:
        return "1 probe" if len(rows) == 1 else f"{len(rows):,} probes"
    return f"{len(rows):,} of {count:,} probes"


def missing_note(one: Measured) -> Html | str:
    """A sentence that names those of which there is no answer; nothing where all are there."""
    count, gone = planned(one.rows), missing(one.rows)
    lost = (count if count is not None else 0) - len(one.rows)
    if lost <= 0:
        return ""
    more = f" and {len(gone) - NAMED:,} more" if len(gone) > NAMED else ""
    place = "level and slot" if one.kind == "scaling" else "slot"
    named = f", by {place}: {', '.join(gone[:NAMED])}{more}" if gone else ""
    words = f"No answer so far from {lost:,} of {count:,} probes{named}. They are still to come, or died."
    return tag("p", tag("strong", words), class_="note")


def conditions(one: Measured) -> list[tuple[str, str]]:
    """What has to be the same on two dates for them to say something of each other."""
    rows = one.rows
    found = [("Answered", probes_of(rows).removesuffix(" probes").removesuffix(" probe"))]
    if one.kind == "scaling":
        found += [
            ("Tree", tree_words(rows)),
            ("Hold", hold_words(rows)),
            ("Account's limit", limit_words(rows)),
        ]
    if one.kind == "lifetime":
        pauses = sorted({row.pause_s for row in rows if row.pause_s is not None})
        found += [
            ("Copies", f"{len({row.function for row in rows})}"),
            ("Pauses", ", ".join(duration(pause) for pause in pauses) or "none"),
        ]
    found.append(("Memory", ", ".join(f"{size:,} MB" for size in sorted({row.memory_mb for row in rows}))))
    found.append(("Architecture", ", ".join(sorted({row.architecture for row in rows}))))
    return found


def tree_words(rows: Sequence[Reading]) -> str:
    """The tree as it was asked for."""
    return _one([row.tree for row in rows]) or UNKNOWN


def hold_words(rows: Sequence[Reading]) -> str:
    """How long each probe held."""
    held = _one([row.hold_s for row in rows])
    return duration(held) if held is not None else UNKNOWN


def limit_of(rows: Sequence[Reading]) -> int | None:
    """How many invocations at once the account allowed."""
    return _one([row.account_limit for row in rows])


def limit_words(rows: Sequence[Reading]) -> str:
    """The account's limit, for people."""
    limit = limit_of(rows)
    return f"{limit:,}" if limit is not None else UNKNOWN


def _one(values: Sequence[Told | None]) -> Told | None:
    return next((value for value in values if value is not None), None)
