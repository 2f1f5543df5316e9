"""The report's drawings: whole to their last stroke, however many probes they show."""

from __future__ import annotations

import re

import pytest

from stages.measure_report import render_report
from tests.stages import measured


@pytest.mark.parametrize("tree", [(1, 100), (3, 100), (4, 100), (16, 30)])
def test_a_wide_tree_is_drawn_to_its_end(tree: tuple[int, int]) -> None:
    """Every line of environments at once begins at none and ends at none, and no word is cut."""
    text = render_report(measured.whole_tree("scaling-wide", levels=tree[0], width=tree[1]))
    paths = re.findall(r'<path d="([^"]*)"', text)
    assert paths
    for path in paths:
        places = [float(one) for one in re.findall(r"[,V]([\d.]+)", path)]
        assert re.fullmatch(r"M[\d.]+,[\d.]+(H[\d.]+V[\d.]+)+", path)
        assert places[0] == places[-1] == max(places)
    assert "…" not in text


def test_many_pauses_are_drawn_to_the_last() -> None:
    """A line of survival has a corner for each pause, and the words of the drawing name them all."""
    pauses = tuple(60.0 + 10 * at for at in range(300))
    text = render_report(measured.long_lifetime("lifetime-fine", pauses=pauses, copies=1))
    lines = re.findall(r'<polyline points="([^"]*)"', text)
    assert lines
    assert {len(line.split()) for line in lines} == {len(pauses)}
    assert text.count("after 50 min 50 s") >= 2
    assert "…" not in text
