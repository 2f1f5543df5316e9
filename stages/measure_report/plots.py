"""The plots, as SVG in the page's own colours. Everything that they show stands in a table too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from stages.measure import Reading
from stages.measure_report import axes
from stages.measure_report.axes import NARROW, WIDE, Scale
from stages.measure_report.figures import Kept, Level, at_once, most_at_once
from stages.measure_report.markup import Html, duration, joined, milliseconds, percent, tag

TONES = 4
"""Series that a plot tells apart by colour."""


class Series(msgspec.Struct, frozen=True):
    """Points of one name; ``tone`` is the number of its colour."""

    name: str
    points: tuple[Kept, ...]
    tone: int = 1


def survival(name: str, title: str, what: str, series: Sequence[Series]) -> Html:
    """How often something was kept against the pause, with counts and 95% intervals."""
    told = "; ".join(
        f"{one.name}: "
        + ", ".join(f"{point.same} of {point.probes} after {duration(point.pause_s)}" for point in one.points)
        for one in series
    )
    return _figure(
        name,
        f"{title} against the pause",
        f"{what}, with 95% intervals (Wilson). {told}.",
        [(one.name, f"t{one.tone}") for one in series],
        lambda width: _survival(width, series),
    )


def running(name: str, rows: Sequence[Reading]) -> Html:
    """How many environments of each level ran over time."""
    numbers = sorted({row.level for row in rows})
    by_level = [(f"level {number}", [row for row in rows if row.level == number]) for number in numbers]
    if len(by_level) > TONES + 1:
        by_level = [("all levels", list(rows))]
    told = "; ".join(f"{words}: {most_at_once(some)} at most" for words, some in by_level)
    return _figure(
        name,
        "Environments at once",
        f"Environments that ran at once, over the seconds since the first began. {told}.",
        [(words, f"o{at}") for at, (words, _) in enumerate(by_level, 1)],
        lambda width: _running(width, [some for _, some in by_level]),
    )


def delays(name: str, series: Sequence[tuple[str, Sequence[Level]]]) -> Html:
    """The start-up delays of each level: a line from the median to the 99th percentile."""
    told = "; ".join(
        f"{words}level {one.level}: {milliseconds(one.p50)}, {milliseconds(one.p90)}, {milliseconds(one.p99)}"
        for words, some in ((f"{words}, " if words else "", some) for words, some in series)
        for one in some
    )
    return _figure(
        name,
        "Start-up delay by level",
        f"Median, 90th and 99th percentile of the time from sending to starting. {told}.",
        [(words, f"t{at}") for at, (words, _) in enumerate(series, 1) if words],
        lambda width: _delays(width, [some for _, some in series]),
    )


def _figure(
    name: str,
    title: str,
    told: str,
    legend: Sequence[tuple[str, str]],
    draw: Callable[[int], tuple[int, Html]],
) -> Html:
    drawn = []
    for width in (WIDE, NARROW):
        height, parts = draw(width)
        drawn.append(axes.drawing(name, width, height, (title, told), parts))
    items = [tag("li", tag("i", class_=f"key {tone}"), words) for words, tone in legend]
    keys = tag("ul", *items, class_="legend") if len(items) > 1 else ""
    return tag("figure", tag("figcaption", title), keys, *drawn)


def _survival(width: int, series: Sequence[Series]) -> tuple[int, Html]:
    height, left, right, top, foot = 290, 48, width - 16, 14, 240
    points = [point for one in series for point in one.points]
    pauses = [point.pause_s for point in points]
    across = axes.pause_scale(pauses, left + 26, right - 26)
    up = Scale(0.0, 1.0, foot, top)
    marks = axes.spaced(pauses, across, 52)
    ground = joined(
        (
            axes.lines((0.0, 0.25, 0.5, 0.75, 1.0), up, (left, right), percent),
            joined(
                tag("text", duration(mark), x=across.place(mark), y=foot + 18, text_anchor="middle")
                for mark in marks
            ),
            tag("text", "pause", x=right, y=foot + 38, text_anchor="end", class_="axis"),
        )
    )
    drawn = []
    for at, one in enumerate(series):
        aside = 9.0 * (at - (len(series) - 1) / 2)
        drawn.append(_kept(one, across, up, aside, counts=len(series) == 1))
    return height, joined((ground, *drawn))


def _kept(one: Series, across: Scale, up: Scale, aside: float, *, counts: bool) -> Html:
    """A series: a line through its points, and at each its interval and its count."""
    places = [(across.place(point.pause_s) + aside, up.place(point.share), point) for point in one.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
    parts = [tag("polyline", points=path, class_="line")]
    for x, y, point in places:
        low, high = point.interval
        count = f"{point.same}/{point.probes}"
        words = f"{one.name}: {count} after {duration(point.pause_s)}, {percent(low)} to {percent(high)}"
        beside = y - 10 if point.share < 0.94 else y + 20
        parts.append(
            tag(
                "g",
                tag("title", words),
                tag("line", x1=x, x2=x, y1=up.place(low), y2=up.place(high), class_="interval"),
                tag("circle", cx=x, cy=y, r=4.5),
                tag("text", count, x=x + 9, y=beside, class_="count") if counts else "",
            )
        )
    return tag("g", *parts, class_=f"t{one.tone}")


def _running(width: int, by_level: Sequence[Sequence[Reading]]) -> tuple[int, Html]:
    height, left, right, top, foot = 290, 48, width - 16, 14, 240
    rows = [row for some in by_level for row in some]
    began = min(row.started_at for row in rows)
    seconds = axes.round_marks(max(row.finished_at for row in rows) - began, 5 if width == WIDE else 4)
    counts = axes.round_marks(float(max(most_at_once(some) for some in by_level)), 4)
    across, up = Scale(0.0, seconds[-1], left, right), Scale(0.0, counts[-1], foot, top)
    ground = joined(
        (
            axes.lines(counts, up, (left, right), lambda mark: f"{mark:g}"),
            axes.columns(seconds, across, foot, lambda mark: f"{mark:g} s"),
            tag("text", "since the first began", x=right, y=foot + 38, text_anchor="end", class_="axis"),
        )
    )
    drawn = [
        tag("g", _steps(some, began, across, up), class_=f"o{at}") for at, some in enumerate(by_level, 1)
    ]
    return height, joined((ground, *drawn))


def _steps(rows: Sequence[Reading], began: float, across: Scale, up: Scale) -> Html:
    path, height = [f"M{across.place(min(row.started_at for row in rows) - began):.1f},{up.start:.1f}"], 0.0
    for moment, count in at_once(rows):
        height = up.place(count)
        path.append(f"H{across.place(moment - began):.1f}V{height:.1f}")
    return joined(tag("path", d="".join(path), class_=kind) for kind in ("area", "line"))


def _delays(width: int, series: Sequence[Sequence[Level]]) -> tuple[int, Html]:
    numbers = sorted({one.level for some in series for one in some})
    step = 26 + 18 * len(series)
    left, right, top = 66, width - 62, 8
    foot = top + step * len(numbers)
    marks = axes.round_marks(max(one.p99 for some in series for one in some), 4 if width == WIDE else 3)
    across = Scale(0.0, marks[-1], left, right)
    ground = [
        tag("line", x1=across.place(mark), x2=across.place(mark), y1=top, y2=foot, class_="grid")
        for mark in marks
    ]
    words = axes.columns(marks, across, foot, milliseconds)
    drawn = []
    for at, number in enumerate(numbers):
        middle = top + step * (at + 0.5)
        drawn.append(tag("text", f"level {number}", x=left - 12, y=middle + 4, text_anchor="end"))
        for tone, some in enumerate(series, 1):
            y = middle + 18 * (tone - (len(series) + 1) / 2)
            drawn += [_spread(one, across, y, tone) for one in some if one.level == number]
    key = "\u25cf median   \u25cb 90%   | 99%"
    drawn.append(tag("text", key, x=right, y=foot + 38, text_anchor="end", class_="axis"))
    return foot + 46, joined((*ground, words, *drawn))


def _spread(one: Level, across: Scale, y: float, tone: int) -> Html:
    words = [milliseconds(delay) for delay in (one.p50, one.p90, one.p99)]
    told = f"level {one.level}: median {words[0]}, 90% by {words[1]}, 99% by {words[2]}"
    median, most, last = (across.place(delay) for delay in (one.p50, one.p90, one.p99))
    return tag(
        "g",
        tag("title", told),
        tag("line", x1=median, x2=last, y1=y, y2=y, class_="spread"),
        tag("circle", cx=median, cy=y, r=5),
        tag("circle", cx=most, cy=y, r=4, class_="hollow"),
        tag("line", x1=last, x2=last, y1=y - 6, y2=y + 6, class_="line"),
        tag("text", milliseconds(one.p99), x=last + 8, y=y + 4, class_="count"),
        class_=f"t{tone}",
    )
