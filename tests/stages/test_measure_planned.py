"""What was asked for beside what came back: in the page and in view ``experiments``, worked out by hand."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import lxml.html
import msgspec

from pipeline.query import Lake
from stages.measure import Reading
from stages.measure_report import render_report
from tests.stages import measured


def told(rows: list[Reading], **fields: Any) -> list[Reading]:
    return [msgspec.structs.replace(row, **fields) for row in rows]


LIFETIME = told(measured.long_lifetime("lifetime-1", pauses=(60.0, 300.0), copies=2), planned=6)
TREE = told(
    measured.whole_tree("scaling-1", levels=2, width=20, hold=9.0),
    planned=41,
    tree="2x20",
    hold_s=9.0,
    account_limit=50,
)
OTHER = told(
    measured.whole_tree("scaling-2", levels=2, width=21, at=4e6),
    planned=43,
    tree="2x21",
    hold_s=5.0,
    account_limit=50,
    memory_mb=1769,
)


def words(rows: list[Reading], other: list[Reading] | None = None) -> str:
    page = lxml.html.document_fromstring(render_report(rows, other if other is not None else []))
    return " ".join(page.text_content().split())


def test_who_never_answered_is_named() -> None:
    """By their place, a dozen of them; nothing is said where all are there, or where nobody knows."""
    assert "No answer so far from 1 of 6 probes, by slot: 4." in words([*LIFETIME[:4], *LIFETIME[5:]])
    some = [row for row in TREE if row.slot < 19 or row.level < 2]
    assert "No answer so far from 1 of 41 probes, by level and slot: 2-19." in words(some)
    many = words(TREE[:21])
    assert "from 20 of 41 probes, by level and slot: 2-0, 2-1, 2-2," in many
    assert "2-11 and 8 more. They are still to come, or died." in many
    for rows in (LIFETIME, TREE, told(TREE[:9], planned=None)):
        assert "No answer" not in words(rows)


def test_a_tree_says_what_it_was_asked_for_and_what_the_account_allows() -> None:
    page = words(TREE)
    assert "41 of 41 probes" in page
    assert "tree 2x20 · each held 9 s" in page
    assert "Account's limit50" in page
    assert "the account's limit, 50" in page
    older = words(told(TREE, planned=None, tree=None, hold_s=None, account_limit=None))
    assert "tree not known · each held not known" in older
    assert "Account's limitnot known" in older


def test_microvms_are_not_called_machines() -> None:
    """A boot id is one of a kernel, and each environment has its own."""
    page = words(TREE)
    assert "MicroVMs (boots)" in page
    assert "how many machines carry them is not to be seen from within" in page
    assert "host" not in page.lower()


def test_a_schedule_that_fired_twice_is_told() -> None:
    """Beside its probe, and as disturbed in what is counted."""
    rows = [msgspec.structs.replace(row, fired=2) if row.slot == 1 else row for row in LIFETIME]
    page = words(rows)
    assert "disturbed fired 2 times" in page
    assert "1 disturbed" in page


def test_a_comparison_says_under_which_conditions() -> None:
    """What was another one on the two dates is marked, and what is the same too."""
    page = lxml.html.document_fromstring(render_report(TREE, OTHER))
    [found] = [
        one for one in page.xpath("//table") if one.findtext("caption") == "Measured under these conditions"
    ]
    cells = [[cell.text_content() for cell in row.xpath("./th|./td")] for row in found.xpath("./tbody/tr")]
    assert cells == [
        ["Answered", "41 of 41", "43 of 43", "another"],
        ["Tree", "2x20", "2x21", "another"],
        ["Hold", "9 s", "5 s", "another"],
        ["Account's limit", "50", "50", "same"],
        ["Memory", "512 MB", "1,769 MB", "another"],
        ["Architecture", "arm64", "arm64", "same"],
    ]
    assert "Copies" in words(LIFETIME, told(LIFETIME, experiment="lifetime-2"))


def test_the_view_says_the_same(tmp_path: Path) -> None:
    """Of each experiment: planned, missing, tree, hold, limit, what ran at once, what came or fired again."""
    tree = [
        measured.reading(0, cold=True, probe="a"),
        measured.tree(0.5, 0, boot_id="boot-b", environment="env-b", probe="b"),
        measured.tree(1.0, 1, boot_id="", receives=2, error="no disk", probe="c"),
    ]
    tree = told(
        tree, experiment="scaling-9", kind="scaling", planned=5, tree="2x2", hold_s=5.0, account_limit=1000
    )
    life = [measured.reading(0, slot=0, planned=2, fired=3), measured.reading(60, slot=1, pause_s=60.0)]
    with Lake(measured.write(tmp_path / "lake", [*tree, *life])) as lake:
        found = [
            row
            for chunk in lake.ask("SELECT * FROM experiments ORDER BY experiment").chunks()
            for row in chunk
        ]
    day = (2027, 1, 15, 8)
    assert found == [
        (
            *("lifetime-1", "lifetime", 2, 2, 0, None, None, None, 1, 1, 1, 0, 1, 0),
            *(datetime(*day), datetime(*day, 1, 1)),  # noqa: DTZ001  # as in the table
        ),
        (
            *("scaling-9", "scaling", 3, 5, 2, "2x2", 5.0, 1000, 2, 2, 2, 1, 0, 1),
            *(datetime(*day), datetime(*day, 0, 2)),  # noqa: DTZ001  # as in the table
        ),
    ]
