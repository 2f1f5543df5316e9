"""Spread: every batch of a run has its moment, and together they last as long as was said."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.records import Batch, Task
from stages.run import Options, Run
from stages.shard import ShardRow
from stages.spread import A_BATCH, MOST, Moments, count_tasks, spread_batch, spread_seconds

HOUR = 3_600.0
CREATED = 1.8e9


def run_of(spread: float, parts: int = 1) -> Run:
    return Run(
        run_id="r",
        key="k",
        name="k.txt",
        size=1,
        options=Options("x", "en", "desktop", 1),
        parts=parts,
        batch_size=5,
        run_date="2026-11-24",
        created_at=CREATED,
        sources={},
        software="test",
        spread=spread,
    )


def batches(sizes: list[tuple[str, int]]) -> list[Batch]:
    return [
        Batch("r", "2026-11-24", 0, number, source, "en", "desktop", (Task("k"),) * size)
        for number, (source, size) in enumerate(sizes, 1)
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("45m", 2_700), ("6h", 6 * HOUR), ("1.5d", 36 * HOUR), (" 1s ", 1), ("30d", MOST)],
)
def test_a_spread_is_a_number_and_a_unit(text: str, seconds: float):
    assert spread_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "6", "h", "6 h", "-1h", "0s", "0.5s", "31d", "1e3s", "6H", "nan", "inf", "9999999999d", "٦h"]
)
def test_anything_else_is_none(text: str):
    """Also what no run could live to see, and digits that no keyboard of the operator has."""
    assert spread_seconds(text) is None


@given(st.integers(0, 10**9), st.floats(1, MOST))
def test_a_batch_stands_for_a_minute_of_the_run_at_most(tasks: int, spread: float):
    """And for a twentieth of it, so that a short run is spread too; it has one task at least."""
    size = spread_batch(tasks, spread)
    assert size >= 1
    assert size == 1 or size / (tasks / spread) <= min(A_BATCH, spread / 20) + 1e-6


@given(
    st.lists(st.tuples(st.sampled_from(["x", "y"]), st.integers(1, 50)), min_size=1, max_size=30),
    st.floats(1, MOST),
    st.integers(1, 4),
)
def test_the_moments_of_a_part_fill_the_spread(sizes: list[tuple[str, int]], spread: float, parts: int):
    """In order, none before the run or after its end; a source's gaps are as its tasks; repeated the same."""
    cut = batches(sizes)
    tasks = count_tasks([*cut, ShardRow("r", "2026-11-24", "k", 0, 1)])
    for part in range(parts):
        moments = Moments(run_of(spread, parts), part, tasks)
        timed = [moments.timed(batch) for batch in cut]
        again = Moments(run_of(spread, parts), part, tasks)
        assert [again.timed(batch) for batch in cut] == timed
        for source in tasks:
            own = [batch for batch in timed if batch.source == source]
            after = [batch.not_before - CREATED for batch in own]
            assert all(sooner <= later + 1e-6 for sooner, later in pairwise(after))
            assert after[0] >= 0
            assert after[-1] + len(own[-1].tasks) / tasks[source] * spread / parts <= spread + 1e-3
            if part == 0:
                assert after[0] == 0
                assert after[-1] == pytest.approx(spread * (1 - len(own[-1].tasks) / tasks[source]), abs=1e-3)
        assert [b.tasks for b in timed] == [b.tasks for b in cut]


def test_parts_take_turns():
    """Batches that are equally far along their parts are not due in the same moment."""
    tasks = {"x": 10}
    firsts = [Moments(run_of(100.0, 2), part, tasks).timed(batches([("x", 5)])[0]) for part in range(2)]
    assert [batch.not_before - CREATED for batch in firsts] == [0.0, 25.0]
