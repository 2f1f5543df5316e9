"""What a pause did to an environment, worked out by hand: the report and view ``lifetimes`` have one rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.query import Lake
from stages.measure import Reading
from stages.measure_report import figures
from tests.stages.measured import reading, write

FIRST = reading(0, slot=0, cold=True)

CASES: dict[str, tuple[list[Reading], list[tuple[Any, ...]]]] = {
    # pause, probes, same environment, mean rest, disturbed, unpaired
    "kept": (
        # The environment's own clock knows better than two that are compared.
        [FIRST, reading(302, slot=1, pause_s=300.0, rest_s=300.5, invocation=2)],
        [(300.0, 1, 1, 300.5, 0, 0)],
    ),
    "new": (
        [FIRST, reading(302, slot=1, pause_s=300.0, environment="env-b", cold=True)],
        [(300.0, 1, 0, 301.0, 0, 0)],
    ),
    # 5 min never ran: what came 15 min after the first says nothing of 10 min.
    "the probe before is missing": (
        [FIRST, reading(902, slot=2, pause_s=600.0, rest_s=901.0, invocation=2)],
        [(600.0, 0, 0, None, 0, 1)],
    ),
    # The one that failed met env-b, so that its pause is told, and env-b was kept for the next ten minutes.
    "the probe before failed": (
        [
            FIRST,
            reading(301, slot=1, pause_s=300.0, environment="env-b", cold=True, error="no disk"),
            reading(902, slot=2, pause_s=600.0, environment="env-b", rest_s=600.0, invocation=2),
        ],
        [(300.0, 1, 0, 300.0, 0, 0), (600.0, 1, 1, 600.0, 0, 0)],
    ),
    # 200 s after the first something ran in its environment: it rested 400 s, not 600.
    "something ran in between": (
        [
            reading(0, slot=0, cold=True, invocation=2),
            reading(601, slot=1, pause_s=600.0, rest_s=400.0, invocation=4),
        ],
        [(600.0, 0, 0, None, 1, 0)],
    ),
    "something ran soon after the one before": (
        [FIRST, reading(601, slot=1, pause_s=600.0, rest_s=590.0, invocation=3)],
        [(600.0, 0, 0, None, 1, 0)],
    ),
    # A new environment whose first invocation was somebody else's.
    "something began another one": (
        [FIRST, reading(601, slot=1, pause_s=600.0, environment="env-b", rest_s=100.0, invocation=2)],
        [(600.0, 0, 0, None, 1, 0)],
    ),
    "the schedule fired twice": (
        [FIRST, reading(601, slot=1, pause_s=600.0, environment="env-b", cold=True, fired=2)],
        [(600.0, 0, 0, None, 1, 0)],
    ),
    # The environment of the second firing may have ended before the pause did.
    "the schedule before fired twice": (
        [
            reading(0, slot=0, cold=True, fired=2),
            reading(601, slot=1, pause_s=600.0, environment="env-b", cold=True),
        ],
        [(600.0, 0, 0, None, 1, 0)],
    ),
    # The first was five minutes late, so that nothing is known of a rest of five minutes.
    "the rest was another one": (
        [FIRST, reading(10, slot=1, pause_s=300.0, rest_s=9.0, invocation=2)],
        [(300.0, 0, 0, None, 1, 0)],
    ),
    # Two minutes late is what a schedule may be; a tenth of an hour is too.
    "a little late": (
        [
            FIRST,
            reading(421, slot=1, pause_s=300.0, rest_s=420.0, invocation=2),
            reading(4382, slot=2, pause_s=3600.0, rest_s=3960.0, invocation=3),
        ],
        [(300.0, 1, 1, 420.0, 0, 0), (3600.0, 1, 1, 3960.0, 0, 0)],
    ),
    "it began before the one before had ended": (
        [reading(0, slot=0, held=80.0), reading(60, slot=1, pause_s=60.0, environment="env-b")],
        [(60.0, 0, 0, None, 1, 0)],
    ),
    # Two pauses of one length: what is proven and what is not stand side by side.
    "one of two was disturbed": (
        [
            FIRST,
            reading(301, slot=1, pause_s=300.0, rest_s=300.0, invocation=2),
            reading(602, slot=2, pause_s=300.0, rest_s=100.0, invocation=4),
        ],
        [(300.0, 1, 1, 300.0, 1, 0)],
    ),
    # The next copy's first probe has the next slot: it is no neighbour.
    "copies are apart": (
        [
            FIRST,
            reading(301, slot=1, pause_s=300.0, rest_s=300.0, invocation=2),
            reading(450, slot=3, function="serpline-probe-1", pause_s=300.0),
        ],
        [(300.0, 1, 1, 300.0, 0, 0), (300.0, 0, 0, None, 0, 1)],
    ),
    "only a first one": ([FIRST], []),
}


@pytest.mark.parametrize("case", CASES)
def test_a_pause_is_told_by_neighbours_alone(case: str, tmp_path: Path) -> None:
    """A probe is compared with the one planned right before it, if its copy rested as planned in between."""
    rows, told = CASES[case]
    assert by_report(rows) == told
    with Lake(write(tmp_path / "lake", rows)) as lake:
        sql = (
            "SELECT pause_s, probes, same_environment, rested_s, disturbed, unpaired, kept_share "
            "FROM lifetimes ORDER BY function, pause_s"
        )
        found = [row for chunk in lake.ask(sql).chunks() for row in chunk]
    assert [row[:-1] for row in found] == told
    assert [row[-1] for row in found] == [same / probes if probes else None for _, probes, same, *_ in told]


def by_report(rows: Sequence[Reading]) -> list[tuple[Any, ...]]:
    found = []
    for steps in figures.by_copy(figures.steps(rows)).values():
        kept = {point.pause_s: point for point in figures.kept(steps)}
        unproven = figures.unproven(steps)
        for pause in sorted({*kept, *unproven}):
            point = kept.get(pause, figures.Kept(pause, 0, 0))
            rests = [
                step.rested_s
                for step in steps
                if step.reading.pause_s == pause and step.same_environment is not None
            ]
            mean = sum(rest for rest in rests if rest is not None) / len(rests) if rests else None
            found.append((pause, point.probes, point.same, mean, *unproven.get(pause, (0, 0))))
    return found
