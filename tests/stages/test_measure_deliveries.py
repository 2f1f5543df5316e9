"""Messages that were delivered again: their delay is the queue's, and stands in no percentile and no plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.query import Lake
from stages.measure_report import figures, render_report
from tests.stages import measured

MINUTES = 725_000.0
ONCE = [measured.tree(slot, slot, delay_ms=100.0 * (slot + 1)) for slot in range(3)]
AGAIN = measured.tree(725.0, 3, delay_ms=MINUTES, receives=2)

CASES: dict[str, tuple[list[Any], tuple[Any, ...]]] = {
    # p50, p90, p99, how many were left out
    "one of four": ([*ONCE, AGAIN], (200.0, 300.0, 300.0, 1)),
    "all of them": ([AGAIN], (None, None, None, 1)),
    "none": (ONCE, (200.0, 300.0, 300.0, 0)),
}


@pytest.mark.parametrize("case", CASES)
def test_delays_are_those_of_first_deliveries(case: str, tmp_path: Path) -> None:
    """The queue hands a message out again after twelve minutes: no function took so long to start."""
    rows, told = CASES[case]
    [level] = figures.levels(rows)
    assert (level.p50, level.p90, level.p99, level.repeated) == told
    sql = "SELECT delay_p50_ms, delay_p90_ms, delay_p99_ms, repeated FROM scaling"
    with Lake(measured.write(tmp_path / "lake", rows)) as lake:
        assert [row for chunk in lake.ask(sql).chunks() for row in chunk] == [told]


def test_the_report_says_how_many_were_left_out() -> None:
    """And neither plot reaches out to them."""
    page = render_report([*ONCE, AGAIN])
    assert "1 probe came with a message that was delivered again" in page
    assert "12 min" not in page.partition("<table>")[0].partition("<svg")[2]


def test_what_a_late_probe_sends_is_late_too() -> None:
    """It began twelve minutes after the others: the plot over time shows the others."""
    late = [measured.tree(726.0 + at, 3, level=2 + at) for at in range(2)]
    on_time = [measured.tree(1.0, slot, level=2) for slot in range(3)]
    whole = render_report([*ONCE, AGAIN, *late, *on_time])
    told = whole.partition('id="s1-running-broad-told">')[2].partition("</desc>")[0]
    assert "level 2: 3 at most" in told
    assert "level 3" not in told


def test_a_tree_whose_root_was_late_is_drawn_all_the_same() -> None:
    """All stand below it and are equally late."""
    root = measured.tree(720.0, 0, level=0, receives=2)
    later = [measured.tree(721.0, slot) for slot in range(4)]
    assert "level 1: 4 at most" in render_report([root, *later])


@pytest.mark.parametrize("rows", [[AGAIN], [measured.tree(0, 0, level=0), AGAIN]])
def test_a_level_of_nothing_but_repeats_has_no_delay(rows: list[Any]) -> None:
    """Its row has dashes, and the page is there."""
    page = render_report(rows)
    assert page.count("—") >= 3
    assert render_report(rows, [*ONCE, AGAIN])
