"""The ground of a plot: its size, its scales and their marks. Lengths are in pixels of the drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from stages.measure_report.markup import Html, joined, tag, whole

NARROW, WIDE, VAST = 340, 500, 1020
"""The widths that a plot is drawn in: a page shows the one that its reader's screen has room for."""

SIZES = {NARROW: "slim", WIDE: "broad", VAST: "vast"}

TONES = 4
"""Series that a plot tells apart by colour."""

LOG_FROM = 5
"""How many times the largest pause is the smallest where their scale becomes logarithmic."""

LETTER = 7.2
"""Room that a letter of a plot takes."""

MINUTES = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
"""Steps between marks of a time that is longer than a minute."""


class Scale(msgspec.Struct, frozen=True):
    """Where values stand between two places."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """A value's place."""
        return self.start + (self.end - self.start) * self._share(value)

    def _share(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return (value - low) / (high - low) if high > low else 0.5


def pause_scale(pauses: Sequence[float], start: float, end: float) -> Scale:
    """From the shortest pause to the longest; from nothing where they are near enough to each other."""
    low, high = min(pauses), max(pauses)
    if low > 0 and high / low > LOG_FROM:
        return Scale(low, high, start, end, log=True)
    return Scale(0.0, high or 1.0, start, end)


def round_marks(high: float, most: int = 5) -> tuple[float, ...]:
    """Round numbers from 0 to at least ``high``, so many steps at most."""
    if high <= 0:
        return (0.0, 1.0)
    rough = high / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 2.5, 5, 10) if power * times >= rough * 0.999)
    if step < 1 and high >= 1 and float(high).is_integer():
        step = 1.0
    return tuple(step * number for number in range(math.ceil(high / step - 0.001) + 1))


def time_marks(seconds: float, most: int = 5) -> tuple[float, ...]:
    """Round times from 0 to at least so many seconds: whole minutes and hours where it is longer than one."""
    if seconds <= 60:
        return round_marks(seconds, most)
    rough = seconds / most
    step = next((float(one) for one in MINUTES if one >= rough), 86_400.0 * math.ceil(rough / 86_400))
    return tuple(step * number for number in range(math.ceil(seconds / step) + 1))


def wide(text: str) -> float:
    """About how wide a word is."""
    return LETTER * len(text)


def columns(
    marks: Sequence[float], scale: Scale, foot: float, words: Callable[[float], str], edge: float
) -> Html:
    """Words below the marks of a horizontal scale; none hangs over the edge."""
    return joined(
        tag(
            "text",
            words(mark),
            x=min(scale.place(mark), edge - wide(words(mark)) / 2),
            y=foot + 18,
            text_anchor="middle",
        )
        for mark in marks
    )


def two_rows(values: Sequence[float], scale: Scale, words: Callable[[float], str]) -> dict[float, int]:
    """In which of two rows below the plot a value's word has room; those that have none are left out.

    The ends come first, and what is left goes into the second row where it would run into another word.
    """
    ordered = sorted(set(values))
    placed: dict[float, int] = {}
    for value in dict.fromkeys((ordered[-1], ordered[0], *ordered)):
        row = next((row for row in (0, 1) if _has_room(value, row, placed, scale, words)), None)
        if row is not None:
            placed[value] = row
    return placed


def _has_room(
    value: float, row: int, placed: dict[float, int], scale: Scale, words: Callable[[float], str]
) -> bool:
    return all(
        other_row != row
        or abs(scale.place(value) - scale.place(other)) >= (wide(words(value)) + wide(words(other))) / 2 + 4
        for other, other_row in placed.items()
    )


def lines(
    marks: Sequence[float], scale: Scale, sides: tuple[float, float], words: Callable[[float], str]
) -> Html:
    """Lines across at the marks of a vertical scale, with their words."""
    left, right = sides
    return joined(
        part
        for mark in marks
        for part in (
            tag("line", x1=left, x2=right, y1=scale.place(mark), y2=scale.place(mark), class_="grid"),
            tag("text", words(mark), x=left - 8, y=scale.place(mark) + 4, text_anchor="end"),
        )
    )


def drawing(name: str, width: int, height: int, words: tuple[str, str], *parts: object) -> Html:
    """A plot of one width with its title and its description, for those who do not see it too."""
    title, told = words
    key = f"{name}-{SIZES[width]}"
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", whole(told), id=f"{key}-told"),
        *parts,
        viewBox=f"0 0 {width} {height}",
        class_=SIZES[width],
        role="img",
        aria_labelledby=f"{key}-title {key}-told",
    )


def figure(
    name: str,
    words: tuple[str, str],
    legend: Sequence[tuple[str, str]],
    draw: Callable[[int], tuple[int, Html]],
    widths: Sequence[int] = (WIDE, NARROW),
) -> Html:
    """A plot in each of the widths below its title; ``words`` are title and description."""
    drawn = []
    for width in widths:
        height, parts = draw(width)
        drawn.append(drawing(name, width, height, words, parts))
    items = [tag("li", tag("i", class_=f"key {tone}"), told) for told, tone in legend]
    keys = tag("ul", *items, class_="legend") if len(items) > 1 else ""
    across = "across" if VAST in widths else None
    return tag("figure", tag("figcaption", words[0]), keys, *drawn, class_=across)
