"""The plot of what was kept against the pause. Everything that it shows stands in a table too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from stages.measure_report import axes
from stages.measure_report.axes import Scale
from stages.measure_report.figures import Kept
from stages.measure_report.markup import Html, bounded, duration, joined, percent, tag

ASIDE = 9.0
"""How far apart series stand at one pause, where there is room."""


class Series(msgspec.Struct, frozen=True):
    """Points of one name; ``tone`` is the number of its colour."""

    name: str
    points: tuple[Kept, ...]
    tone: int = 1


def survival(name: str, title: str, what: str, series: Sequence[Series]) -> Html:
    """How often something was kept against the pause, with counts and 95% intervals."""
    told = "; ".join(
        f"{bounded(one.name)}: "
        + ", ".join(f"{point.same} of {point.probes} after {duration(point.pause_s)}" for point in one.points)
        for one in series
    )
    return axes.figure(
        name,
        (f"{title} against the pause", f"{what}, with 95% intervals (Wilson). {told}."),
        [(one.name, f"t{one.tone}") for one in series],
        lambda width: _survival(width, series),
    )


def _survival(width: int, series: Sequence[Series]) -> tuple[int, Html]:
    left, right, top, foot = 48, width - 16, 14, 240
    pauses = sorted({point.pause_s for one in series for point in one.points})
    across = axes.pause_scale(pauses, left + 26, right - 26)
    up = Scale(0.0, 1.0, foot, top)
    gap = min((across.place(after) - across.place(before) for before, after in pairwise(pauses)), default=1e3)
    # Nobody may take a point for one of the next pause.
    aside = min(ASIDE, gap / 2 / max(1, len(series) - 1))
    words = axes.two_rows(pauses, across, duration)
    ground = joined(
        (
            axes.lines((0.0, 0.25, 0.5, 0.75, 1.0), up, (left, right), percent),
            *(_mark(pause, across.place(pause), foot, words.get(pause)) for pause in pauses),
        )
    )
    low = foot + 38 + 16 * max(words.values())
    drawn = [
        _kept(one, across, up, aside * (at - (len(series) - 1) / 2), (len(series) == 1, gap / len(series)))
        for at, one in enumerate(series)
    ]
    name = tag("text", "pause", x=right, y=low, text_anchor="end", class_="axis")
    return low + 8, joined((ground, name, *drawn))


def _mark(pause: float, x: float, foot: float, row: int | None) -> Html:
    """A tick at a pause, and its word where there is room for it."""
    tick = tag("line", x1=x, x2=x, y1=foot, y2=foot + (20 if row == 1 else 5), class_="rule")
    if row is None:
        return tick
    return joined((tick, tag("text", duration(pause), x=x, y=foot + 18 + 16 * row, text_anchor="middle")))


def _kept(one: Series, across: Scale, up: Scale, aside: float, room: tuple[bool, float]) -> Html:
    """A series: a line through its points, and at each its interval and its count where it is alone."""
    counts, each = room
    places = [(across.place(point.pause_s) + aside, up.place(point.share), point) for point in one.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
    parts = [tag("polyline", points=path, class_="line")]
    taken = 0.0
    for x, y, point in places:
        low, high = point.interval
        count = f"{point.same}/{point.probes}"
        words = f"{one.name}: {count} after {duration(point.pause_s)}, {percent(low)} to {percent(high)}"
        beside = y - 10 if point.share < 0.94 else y + 20
        shown = counts and x + 9 >= taken
        taken = x + 13 + axes.wide(count) if shown else taken
        kind = "interval" if each >= 8 else "interval thin"
        parts.append(
            tag(
                "g",
                tag("title", words),
                tag("line", x1=x, x2=x, y1=up.place(low), y2=up.place(high), class_=kind),
                tag("circle", cx=x, cy=y, r=4.5 if each >= 8 else 3),
                tag("text", count, x=x + 9, y=beside, class_="count") if shown else "",
            )
        )
    return tag("g", *parts, class_=f"t{one.tone}")
