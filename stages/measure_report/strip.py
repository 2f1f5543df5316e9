"""The environments of each function copy over time, as bars that end where one was seen last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from stages.measure import Reading
from stages.measure_report import axes
from stages.measure_report.axes import NARROW, WIDE, Scale
from stages.measure_report.figures import Step
from stages.measure_report.markup import Html, duration, joined, tag
from stages.measure_report.plots import TONES


def strip(name: str, copies: Mapping[str, Sequence[Step]], letters: Mapping[str, str]) -> Html:
    """The figure; ``letters`` are what the environments are called on this page."""
    stays = {copy: [list(some) for _, some in _stays(found)] for copy, found in copies.items()}
    told = "; ".join(
        f"{copy}: {', '.join(f'{letters[some[0].environment]} in {len(some)}' for some in found)}"
        for copy, found in stays.items()
    )
    title = "Environments over time"
    words = (
        title,
        f"Each bar is an environment, from its first probe to its last. Probes by environment: {told}.",
    )
    drawn = [axes.drawing(name, width, *_drawn(width, stays, letters, words)) for width in (WIDE, NARROW)]
    return tag("figure", tag("figcaption", title), *drawn, class_="across")


def _stays(found: Sequence[Step]) -> groupby[str, Reading]:
    return groupby((step.reading for step in found), key=lambda row: row.environment)


def _drawn(
    width: int, stays: Mapping[str, list[list[Reading]]], letters: Mapping[str, str], words: tuple[str, str]
) -> tuple[int, tuple[str, str], Html]:
    rows = [row for found in stays.values() for some in found for row in some]
    began, ended = min(row.started_at for row in rows), max(row.finished_at for row in rows)
    top, step = 6, 52
    foot = top + step * len(stays)
    marks = _hours(ended - began, 6 if width == WIDE else 4)
    across = Scale(0.0, marks[-1], 6, width - 12)
    parts = [
        tag("line", x1=across.place(mark), x2=across.place(mark), y1=top, y2=foot, class_="grid")
        for mark in marks
    ]
    parts.append(axes.columns(marks, across, foot, lambda mark: duration(mark) if mark else "0"))
    for at, (copy, found) in enumerate(stays.items()):
        y = top + step * at
        parts.append(tag("text", copy, x=8, y=y + 13))
        drawn = [
            _stay(some, letters, across, began, y + 18, odd=number % 2 == 1)
            for number, some in enumerate(found)
        ]
        parts.append(tag("g", *drawn, class_=f"t{at + 1 if len(stays) <= TONES else 1}"))
    return foot + 26, words, joined(parts)


def _stay(
    some: Sequence[Reading], letters: Mapping[str, str], across: Scale, began: float, y: float, *, odd: bool
) -> Html:
    """A bar with its letter above and a mark a probe below; every other one is darker."""
    start, end = across.place(some[0].started_at - began), across.place(some[-1].finished_at - began)
    long = max(end - start, 4.0)
    lasted = duration(some[-1].finished_at - some[0].started_at)
    letter = letters[some[0].environment]
    marks = (across.place(row.started_at - began) for row in some)
    return tag(
        "g",
        tag("title", f"environment {letter}: {len(some)} probes in {lasted}"),
        tag("rect", x=start, y=y, width=long, height=28, rx=3, class_="stay odd" if odd else "stay"),
        *(tag("line", x1=x + 1, x2=x + 1, y1=y + 17, y2=y + 26, class_="tick") for x in marks),
        tag("text", letter, x=start + 5, y=y + 13, class_="inside") if long > 8 + 8 * len(letter) else "",
    )


def _hours(seconds: float, most: int) -> tuple[float, ...]:
    """Round marks of a time: whole minutes, quarters and hours."""
    rough = max(seconds, 1.0) / most
    rounds = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
    step = next((float(one) for one in rounds if one >= rough), 86_400.0 * -(-rough // 86_400))
    return (
        tuple(step * number for number in range(int(-(-seconds // step)) + 1)) if seconds > 0 else (0.0, 1.0)
    )
