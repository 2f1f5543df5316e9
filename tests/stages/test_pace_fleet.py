"""An hour of 400 copies with wrong clocks, delays and deaths, as the engine sees it."""

from __future__ import annotations

import bisect
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pace import GRACE, TRIAL
from stages.source import Politeness
from tests.stages.fleet import HOUR, NOW, SPREAD, Hour, most_above

COPIES = 400
DELTA = SPREAD + GRACE
"""Seconds by which a window at the engine may seem longer: clocks, and what is not yet forfeited."""

HOLDS = 1e-6
"""Requests: what rounding of moments near 1.75e9 is worth at 200 a second, and less."""


def naive(arrivals: list[float], rate: float) -> float:
    """The same by looking at every window."""
    return max(
        (last - first + 1) - rate * (arrivals[last] - arrivals[first])
        for first in range(len(arrivals))
        for last in range(first, len(arrivals))
    )


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.floats(0.01, 10))
def test_the_sweep_sees_what_looking_at_every_window_sees(moments: list[float], rate: float):
    """Else the tests below would hold nothing."""
    arrivals = sorted(NOW + moment for moment in moments)
    assert most_above(arrivals, rate) == pytest.approx(naive(arrivals, rate), abs=1e-4)


@pytest.mark.parametrize(
    ("rate", "burst", "seeds"),
    [
        (1 / 60, 1, range(8)),
        (1 / 60, 2, range(4)),
        (1 / 7, 1, range(4)),
        (1.0, 1, range(2)),
        (10.0, 5, range(2)),
        (50.0, 1, range(2)),
        (200.0, 20, range(2)),
    ],
)
def test_an_hour_of_400_copies_keeps_the_rate_and_uses_it(rate: float, burst: int, seeds: range):
    """No window of w seconds holds more than r·(w + δ) + b requests; 95 of 100 that are allowed are made.

    Of the slow rates an hour has few slots, so that several hours are taken together.
    """
    made, allowed = 0, 0.0
    for seed in seeds:
        arrivals = Hour(Politeness(rate=rate, burst=burst), COPIES, seed).run()
        assert most_above(arrivals, rate) <= rate * DELTA + burst + HOLDS * (1 + rate)
        made += len(arrivals)
        allowed += 1 + rate * (NOW + HOUR - arrivals[0])
    assert made >= 0.95 * allowed


@pytest.mark.parametrize(("rate", "seed"), [(1 / 60, 3), (1 / 7, 0), (1.0, 1), (10.0, 2), (200.0, 4)])
def test_two_seconds_after_a_refusal_nothing_more_is_sent(rate: float, seed: int):
    """Until the rest is over; then one request, and no other before it was answered or given up."""
    pace = Politeness(rate=rate, rest=120.0)
    hour = Hour(pace, COPIES, seed, refusals=6)
    arrivals = hour.run()
    assert most_above(arrivals, rate) <= rate * DELTA + 1 + HOLDS * (1 + rate)
    reopened = [refusal for refusal in hour.refusals if math.isfinite(refusal.reopened_at)]
    assert len(reopened) >= 3
    for known_at, reopened_at in reopened:
        opens = bisect.bisect(arrivals, known_at + pace.rest - SPREAD)
        assert bisect.bisect(arrivals, known_at + 2) == opens
        trials = arrivals[opens : bisect.bisect_left(arrivals, reopened_at)]
        assert trials
        assert all(later - sooner >= TRIAL - SPREAD - GRACE for sooner, later in pairwise(trials))
