"""The environments of each function copy over time, as bars that end where one was seen last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import msgspec

from stages.measure import Reading
from stages.measure_report import axes
from stages.measure_report.axes import NARROW, TONES, VAST, WIDE, Scale
from stages.measure_report.figures import Step
from stages.measure_report.markup import Html, bounded, duration, joined, tag

ROWS = 4
"""Rows that the letters of short bars may take above them."""


BOLD = 1.35
"""How much wider than other words bold capitals are."""

ASIDE = 12
"""Room on the right of the last moment."""


class Stay(msgspec.Struct, frozen=True):
    """A bar: probes in one environment, one after the other; ``row`` is its letter's, -1 inside the bar."""

    rows: list[Reading]
    start: float
    end: float
    row: int | None


def strip(name: str, copies: Mapping[str, Sequence[Step]], letters: Mapping[str, str]) -> Html:
    """The figure; ``letters`` are what the environments are called on this page."""
    stays = {copy: [list(some) for _, some in _stays(found)] for copy, found in copies.items()}
    told = "; ".join(
        f"{bounded(copy)}: {', '.join(f'{letters[some[0].environment]} in {len(some)}' for some in found)}"
        for copy, found in stays.items()
    )
    words = f"Each bar is an environment, from its first probe to its last. Probes by environment: {told}."
    return axes.figure(
        name,
        ("Environments over time", words),
        [],
        lambda width: _drawn(width, stays, letters),
        (WIDE, NARROW, VAST),
    )


def _stays(found: Sequence[Step]) -> groupby[str, Reading]:
    return groupby((step.reading for step in found), key=lambda row: row.environment)


def _drawn(
    width: int, stays: Mapping[str, list[list[Reading]]], letters: Mapping[str, str]
) -> tuple[int, Html]:
    rows = [row for found in stays.values() for some in found for row in some]
    began, lasted = min(row.started_at for row in rows), max(row.finished_at for row in rows)
    lasted -= began
    across = Scale(0.0, lasted if lasted > 0 else 1.0, 6, width - ASIDE)
    most = {NARROW: 3, WIDE: 5, VAST: 9}[width]
    marks = [mark for mark in axes.time_marks(lasted, most) if mark <= across.high]
    parts: list[object] = []
    y = 6.0
    for at, (copy, found) in enumerate(stays.items()):
        placed = _placed(found, letters, across, began, width)
        high = y + 20 + 15 * (1 + max((stay.row for stay in placed if stay.row is not None), default=-1))
        parts.append(tag("text", copy, x=8, y=y + 13))
        drawn = [_stay(stay, letters, across, began, high, number) for number, stay in enumerate(placed)]
        parts.append(tag("g", *drawn, class_=f"t{at + 1 if len(stays) <= TONES else 1}"))
        y = high + 36
    ground = [
        tag("line", x1=across.place(mark), x2=across.place(mark), y1=6, y2=y, class_="grid") for mark in marks
    ]
    foot = axes.columns(marks, across, y, lambda mark: duration(mark) if mark else "0", width)
    return int(y) + 26, joined((*ground, *parts, foot))


def _placed(
    found: Sequence[list[Reading]], letters: Mapping[str, str], across: Scale, began: float, width: int
) -> list[Stay]:
    """Each bar with a place for its letter: inside where it is long enough, else in a row above."""
    taken = [0.0] * ROWS
    placed = []
    for some in found:
        start, end = (
            across.place(at - began) for at in (some[0].started_at, max(row.finished_at for row in some))
        )
        end = max(end, start + 4.0)
        room = _room(letters[some[0].environment])
        row: int | None = -1
        if end - start < room + 4:
            at = min(start, width - room)
            row = next((row for row in range(ROWS) if taken[row] <= at), None)
            if row is not None:
                taken[row] = at + room
        placed.append(Stay(some, start, end, row))
    return placed


def _room(letter: str) -> float:
    return BOLD * axes.wide(letter) + 4


def _stay(stay: Stay, letters: Mapping[str, str], across: Scale, began: float, y: float, number: int) -> Html:
    """A bar with its letter and a mark a probe; every other one is darker."""
    lasted = duration(stay.rows[-1].finished_at - stay.rows[0].started_at)
    letter = letters[stay.rows[0].environment]
    marks = (across.place(row.started_at - began) for row in stay.rows)
    word: object = ""
    if stay.row == -1:
        word = tag("text", letter, x=stay.start + 5, y=y + 13, class_="inside")
    elif stay.row is not None:
        left = min(stay.start, across.end + ASIDE - _room(letter))
        word = tag("text", letter, x=left, y=y - 5 - 15 * stay.row, class_="inside")
    kind = "stay odd" if number % 2 else "stay"
    return tag(
        "g",
        tag("title", f"environment {letter}: {len(stay.rows)} probes in {lasted}"),
        tag("rect", x=stay.start, y=y, width=stay.end - stay.start, height=28, rx=3, class_=kind),
        *(tag("line", x1=x + 1, x2=x + 1, y1=y + 17, y2=y + 26, class_="tick") for x in marks),
        word,
    )
