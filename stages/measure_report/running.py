"""The plot of how many environments ran at once, level upon level."""

from __future__ import annotations

from collections.abc import Sequence

from stages.measure import Reading
from stages.measure_report import axes
from stages.measure_report.axes import NARROW, Scale
from stages.measure_report.figures import at_once, first_deliveries, most_at_once
from stages.measure_report.markup import Html, duration, joined, tag

BANDS = 5
"""Bands that the plot tells apart; where there are more levels, neighbours share one."""

NEAR = 2.0
"""How many times what ran the account's limit may be and still be drawn."""


def running(name: str, rows: Sequence[Reading], limit: int | None = None) -> Html | None:
    """How many environments ran over time, beside the account's ``limit`` where it is near.

    None where every message was delivered again: what comes minutes later would press all else together.
    """
    shown = _on_time(rows)
    if not shown:
        return None
    bands = _bands(shown)
    told = "; ".join(f"{words}: {most_at_once(some)} at most" for words, some in bands)
    words = (
        f"Environments that ran at once, over the time since the first began, one level upon the other. "
        f"{told}; all together: {most_at_once(shown)} at most."
    )
    return axes.figure(
        name,
        ("Environments at once", words),
        [(words, f"o{at}") for at, (words, _) in enumerate(bands, 1)],
        lambda width: _running(width, [some for _, some in bands], limit),
    )


def _on_time(rows: Sequence[Reading]) -> list[Reading]:
    """Without what was delivered again, and without what stands below it: that was sent minutes later.

    Below the root stand all, so that none of them is late against the others.
    """
    late: dict[int, int] = {}
    for row in rows:
        if row.receives > 1 and row.level > 0:
            late[row.slot] = min(row.level, late.get(row.slot, row.level))
    return [
        row for row in first_deliveries(rows) if row.level <= late.get(row.slot, row.level) or not row.level
    ]


def _bands(rows: Sequence[Reading]) -> list[tuple[str, list[Reading]]]:
    numbers = sorted({row.level for row in rows})
    size = -(-len(numbers) // BANDS)
    bands = []
    for at in range(0, len(numbers), size):
        levels = numbers[at : at + size]
        words = f"level {levels[0]}" if len(levels) == 1 else f"levels {levels[0]} to {levels[-1]}"
        bands.append((words, [row for row in rows if row.level in levels]))
    return bands


def _running(width: int, bands: Sequence[Sequence[Reading]], limit: int | None) -> tuple[int, Html]:
    height, left, right, top, foot = 300, 48, width - 16, 26, 250
    rows = [row for some in bands for row in some]
    began, most = min(row.started_at for row in rows), most_at_once(rows)
    lasted = max(row.finished_at for row in rows) - began
    near = limit if limit is not None and limit <= NEAR * most else None
    counts = axes.round_marks(float(max(most, near or 0)), 4)
    across = Scale(0.0, lasted if lasted > 0 else 1.0, left, right)
    up = Scale(0.0, counts[-1], foot, top)
    marks = [one for one in axes.time_marks(lasted, 5 if width > NARROW else 3) if one <= across.high]
    parts: list[object] = [
        axes.lines(counts, up, (left, right), lambda mark: f"{mark:,.0f}"),
        axes.columns(marks, across, foot, lambda mark: duration(mark) if mark else "0", width),
        tag("text", "since the first began", x=right, y=foot + 38, text_anchor="end", class_="axis"),
    ]
    # The highest first: each lower one is laid over it.
    for at in range(len(bands), 0, -1):
        below = [row for some in bands[:at] for row in some]
        parts.append(tag("path", d=_outline(below, began, across, up), class_=f"band o{at}"))
    if near is not None:
        parts.append(_limit(near, up.place(near), left, right))
    return height, joined(parts)


def _limit(limit: int, y: float, left: float, right: float) -> Html:
    words = tag(
        "text", f"the account's limit, {limit:,}", x=right, y=y - 6, text_anchor="end", class_="count"
    )
    return joined((tag("line", x1=left, x2=right, y1=y, y2=y, class_="limit"), words))


def _outline(rows: Sequence[Reading], began: float, across: Scale, up: Scale) -> str:
    path = [f"M{across.place(min(row.started_at for row in rows) - began):.1f},{up.start:.1f}"]
    path += [f"H{across.place(moment - began):.1f}V{up.place(count):.1f}" for moment, count in at_once(rows)]
    return "".join(path)
