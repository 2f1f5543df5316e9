"""The ground of a plot: its size, its scales and their marks. Lengths are in pixels of the drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from stages.measure_report.markup import Html, joined, tag, whole

WIDE, NARROW = 560, 340
"""The widths that a plot is drawn in: a page shows the one that its reader's screen has room for."""

LOG_FROM = 12
"""How many times the largest value is the smallest where a scale of pauses becomes logarithmic."""


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


def spaced(values: Sequence[float], scale: Scale, room: float) -> tuple[float, ...]:
    """Those of the values that have room for a word of such a width; the last one always has."""
    kept: list[float] = []
    for value in sorted(set(values), reverse=True):
        if not kept or abs(scale.place(kept[-1]) - scale.place(value)) >= room:
            kept.append(value)
    return tuple(reversed(kept))


def columns(marks: Sequence[float], scale: Scale, foot: float, words: Callable[[float], str]) -> Html:
    """Words below the marks of a horizontal scale."""
    return joined(
        tag("text", words(mark), x=scale.place(mark), y=foot + 18, text_anchor=_anchor(mark, marks, scale))
        for mark in marks
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
    sized = "broad" if width == WIDE else "slim"
    key = f"{name}-{sized}"
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", whole(told), id=f"{key}-told"),
        *parts,
        viewBox=f"0 0 {width} {height}",
        class_=sized,
        role="img",
        aria_labelledby=f"{key}-title {key}-told",
    )


def _anchor(mark: float, marks: Sequence[float], scale: Scale) -> str:
    # The last word would hang over the edge.
    return "end" if mark == max(marks) and len(marks) > 1 and scale.place(mark) >= scale.end - 1 else "middle"
