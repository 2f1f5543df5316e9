"""The report's drawings: whole to their last stroke, however many probes they show."""

from __future__ import annotations

import re
from itertools import pairwise

import lxml.html
import pytest

from stages.measure import Reading
from stages.measure_report import render_report
from stages.measure_report.axes import time_marks
from stages.measure_report.lifetime import names_of
from stages.measure_report.markup import duration
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


PAUSES = (300.0, 600.0, 900.0, 1800.0, 3600.0)
THREE = measured.long_lifetime("lifetime-3", pauses=PAUSES, copies=3)


def drawing(rows: list[Reading], key: str) -> lxml.html.HtmlElement:
    """The drawing whose title has this id."""
    page = lxml.html.document_fromstring(render_report(rows))
    return page.get_element_by_id(f"{key}-title").getparent()


@pytest.mark.parametrize("size", ["broad", "slim"])
def test_each_pause_has_its_tick_and_its_word_and_keeps_to_itself(size: str) -> None:
    """5, 10, 15, 30 minutes and an hour of three copies: a point is nearest to its own pause by far."""
    plot = drawing(THREE, f"s1-kept-{size}")
    ticks = [float(one.get("x1")) for one in plot.xpath(".//line[@class='rule']")]
    assert len(ticks) == len(PAUSES)
    assert {"5 min", "10 min", "15 min", "30 min", "1 h"} <= {one.text for one in plot.xpath(".//text")}
    nearest = min(after - before for before, after in pairwise(ticks))
    for x in (float(one.get("cx")) for one in plot.xpath(".//circle")):
        assert min(abs(x - tick) for tick in ticks) <= nearest / 4 + 0.01


def test_each_environment_has_its_letter_over_time() -> None:
    """Those that one probe saw too, whose bar is too short for it."""
    rows = measured.long_lifetime("lifetime-4", copies=2, lives=900.0)
    plot = drawing(rows, "s1-strip-vast")
    letters = set(names_of([row.environment for row in rows]).values())
    assert letters <= {one.text for one in plot.xpath(".//text[@class='inside']")}


@pytest.mark.parametrize("seconds", [61.0, 100.0, 800.0, 3000.0, 40_000.0, 700_000.0])
def test_a_long_time_is_marked_at_whole_minutes(seconds: float) -> None:
    """Nobody reads 13 min 20 s; and there are few enough marks to be read."""
    marks = time_marks(seconds)
    assert marks[0] == 0
    assert marks[-1] >= seconds
    assert len(marks) <= 7
    assert all(mark % 60 == 0 for mark in marks)
    assert not any(" s" in duration(mark) for mark in marks[1:])


def test_what_was_kept_every_time_says_how_often_that_was() -> None:
    """Once is not much: the figure says 1 of 1."""
    rows = measured.long_lifetime("lifetime-5", pauses=(60.0, 300.0), copies=1, lives=1e9)
    page = lxml.html.document_fromstring(render_report(rows))
    assert "5 min (1 of 1)" in page.xpath("//ul[@class='tiles']//strong/text()")
