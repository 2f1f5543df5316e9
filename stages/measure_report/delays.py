"""The plot of start-up delays: a line a level, from the median to the 99th percentile."""

from __future__ import annotations

from collections.abc import Sequence

from stages.measure_report import axes
from stages.measure_report.axes import NARROW, Scale
from stages.measure_report.figures import Level
from stages.measure_report.markup import Html, joined, milliseconds, tag

HIGH = 240
"""How high the plot is at most while its lines keep apart, so that it leaves no hole beside its neighbour."""

APART = 16
"""How far apart lines have to be."""


def delays(name: str, series: Sequence[tuple[str, Sequence[Level]]]) -> Html | None:
    """The start-up delays of each level that has any; None where no level has."""
    series = [(words, [one for one in some if one.p99 is not None]) for words, some in series]
    if not any(some for _, some in series):
        return None
    told = "; ".join(
        f"{words}level {one.level}: {milliseconds(one.p50)}, {milliseconds(one.p90)}, {milliseconds(one.p99)}"
        for words, some in ((f"{words}, " if words else "", some) for words, some in series)
        for one in some
    )
    what = "Median, 90th and 99th percentile of the time from sending to starting"
    return axes.figure(
        name,
        ("Start-up delay by level", f"{what}. {told}."),
        [(words, f"t{at}") for at, (words, _) in enumerate(series, 1) if words],
        lambda width: _delays(width, [some for _, some in series]),
    )


def _delays(width: int, series: Sequence[Sequence[Level]]) -> tuple[int, Html]:
    numbers = sorted({one.level for some in series for one in some})
    least = APART * len(series) + (8 if len(series) > 1 else 0)
    step = max(least, min(44, HIGH // len(numbers)))
    left, right, top = 66, width - 66, 8
    foot = top + step * len(numbers)
    marks = _marks(max(one.p99 or 0.0 for some in series for one in some), 4 if width > NARROW else 3)
    across = Scale(0.0, marks[-1], left, right)
    parts: list[object] = [
        tag("line", x1=across.place(mark), x2=across.place(mark), y1=top, y2=foot, class_="grid")
        for mark in marks
    ]
    parts.append(axes.columns(marks, across, foot, lambda mark: milliseconds(mark) if mark else "0", width))
    for at, number in enumerate(numbers):
        middle = top + step * (at + 0.5)
        parts.append(tag("text", f"level {number}", x=left - 12, y=middle + 4, text_anchor="end"))
        for tone, some in enumerate(series, 1):
            y = middle + APART * (tone - (len(series) + 1) / 2)
            parts += [_spread(one, across, y, tone) for one in some if one.level == number]
    key = "\u25cf median   \u25cb 90%   | 99%"
    parts.append(tag("text", key, x=right, y=foot + 38, text_anchor="end", class_="axis"))
    return foot + 46, joined(parts)


def _marks(high: float, most: int) -> list[float]:
    """Marks in milliseconds; what takes minutes has them at whole minutes."""
    if high <= 60_000:
        return list(axes.round_marks(high, most))
    return [1000 * mark for mark in axes.time_marks(high / 1000, most)]


def _spread(one: Level, across: Scale, y: float, tone: int) -> Html:
    words = [milliseconds(delay) for delay in (one.p50, one.p90, one.p99)]
    told = f"level {one.level}: median {words[0]}, 90% by {words[1]}, 99% by {words[2]}"
    median, most, last = (across.place(delay or 0.0) for delay in (one.p50, one.p90, one.p99))
    return tag(
        "g",
        tag("title", told),
        tag("line", x1=median, x2=last, y1=y, y2=y, class_="spread"),
        tag("circle", cx=median, cy=y, r=5),
        tag("circle", cx=most, cy=y, r=4, class_="hollow"),
        tag("line", x1=last, x2=last, y1=y - 6, y2=y + 6, class_="line"),
        tag("text", words[2], x=last + 8, y=y + 4, class_="count"),
        class_=f"t{tone}",
    )
