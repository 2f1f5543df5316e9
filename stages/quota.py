"""Quota: the requests that an engine allows in its own day, and when that day begins.

A day is told in UTC and needs no table of time zones, which functions do not carry. An engine whose midnight
moves with summer time is written as the span in which it may fall, and nothing is asked in it: each of our
days then lies within one of the engine's, winter and summer, on the days between them too. An hour without
requests costs nothing where a day's quota takes minutes.

Times are seconds since the epoch.
"""

from __future__ import annotations

import math
import re

import msgspec

DAY = 86_400.0

MARGIN = 5.0
"""Seconds before and after an engine's midnight in which nothing is asked, for clocks and the way there."""

WIDEST = 12 * 3_600.0
"""Seconds of the longest span in which an engine's midnight may fall."""

_CLOCK = r"([01]\d|2[0-3]):([0-5]\d)"
_RESETS = re.compile(rf"{_CLOCK}(?:-{_CLOCK})?")


class QuotaDay(msgspec.Struct, frozen=True):
    """A day: it may be asked from ``begins`` until ``ends``, and again from ``following``."""

    begins: float
    ends: float
    following: float


def read_resets(text: str) -> tuple[float, float]:
    """The earliest and the latest second of a UTC day at which a quota begins anew: ``HH:MM`` or a span.

    A span over midnight ends beyond ``DAY``. Raises ``ValueError`` for what is neither.
    """
    match = _RESETS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time of day")
    first = _seconds(match[1], match[2])
    last = _seconds(match[3], match[4]) if match[3] is not None else first
    last += DAY if last < first else 0.0
    if last - first > WIDEST:
        raise ValueError(f"{text!r} is longer than {WIDEST / 3_600:.0f} hours")
    return first, last


def quota_day(resets: str, now: float) -> QuotaDay:
    """The quota's day at this moment; in the pause between two days, the one that ended."""
    first, last = read_resets(resets)
    number = math.floor((now - last - MARGIN) / DAY)
    begins = number * DAY + last + MARGIN
    return QuotaDay(begins, (number + 1) * DAY + first - MARGIN, begins + DAY)


def _seconds(hours: str, minutes: str) -> float:
    return int(hours) * 3_600.0 + int(minutes) * 60.0
