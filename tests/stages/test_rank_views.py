"""The views about ranks, answered over a few small runs whose pages stand in ``lakes``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline.query import Lake
from stages.records import Page
from stages.staged import Staged
from tests.pipeline.query import lakes, markets


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with Lake(lakes.small(tmp_path_factory.mktemp("ranks") / "lake")) as opened:
        yield opened


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with Lake(markets.asked(tmp_path_factory.mktemp("ranks") / "lake")) as opened:
        yield opened


def _rows(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return [row for chunk in lake.ask(sql).chunks() for row in chunk]


def test_latest_ranks_are_of_the_latest_whole_answer(lake: Lake) -> None:
    """The best organic rank a domain, from runs that are complete: ``run-c`` misses two pages."""
    sql = "SELECT keyword, domain, rank, url, run_id, run_date, pages FROM latest_ranks ORDER BY 1, 3"
    first, second = date(2026, 7, 1), date(2026, 7, 2)
    assert _rows(lake, sql) == [
        ("hats", "b.example", 1, "https://b.example/hats", "run-a", first, 1),
        ("nichts „ß“ 鞋", "d.example", 1, "https://d.example/", "run-b", second, 1),
        ("red shoes", "a.example", 1, "https://a.example/1", "run-a", first, 2),
        ("red shoes", "b.example", 2, "https://b.example/1", "run-a", first, 2),
        ("red shoes", "c.example", 11, "https://c.example/", "run-a", first, 2),
    ]


def test_a_run_counts_from_its_last_page_on(asked: Lake) -> None:
    """A later answer that found nothing is one (``hats``): nobody ranks there any more."""
    sql = (
        "SELECT source, keyword, domain, rank, url, run_id FROM latest_ranks "
        "WHERE locale = 'en-US' AND device = 'desktop' ORDER BY 1, 2, 4"
    )
    assert _rows(asked, sql) == [
        ("alpha", "gloves", "b.example", 1, "https://b.example/gloves", "run-c"),
        ("alpha", "red shoes", "b.example", 1, "https://b.example/1", "run-c"),
        ("alpha", "red shoes", "d.example", 2, "https://d.example/", "run-c"),
        ("alpha", "red shoes", "a.example", 5, "https://a.example/2", "run-c"),
        ("beta", "gloves", "z.example", 1, "https://z.example/gloves", "run-c"),
        ("beta", "gloves", "b.example", 2, "https://b.example/g", "run-c"),
        ("beta", "red shoes", "z.example", 1, "https://z.example/", "run-c"),
    ]


def _asked(folder: Path, batches: list[Staged], **tasks: int) -> list[tuple[Any, ...]]:
    """Whose ranks are the latest, after runs of so many tasks."""
    rows = [lakes.shard_row(name.replace("_", "-"), tasks=count) for name, count in tasks.items()]
    with Lake(lakes.write(folder, batches, rows)) as opened:
        return _rows(opened, "SELECT domain, rank, run_id, pages FROM latest_ranks ORDER BY rank")


def _two_pages(run_id: str, day: str) -> tuple[Page, Page]:
    first = lakes.page("k", lakes.organic(1, "a.example"), at=f"{day}T10:00:00")
    site = "x.example" if run_id == "run-a" else "y.example"
    return first, lakes.page("k", lakes.organic(15, site), at=f"{day}T10:00:01", number=2)


def test_an_answer_whose_last_page_is_still_to_come_replaces_none(tmp_path: Path) -> None:
    """A refusal between its pages leaves the second for hours: until then the ranks are of the run before."""
    first, last = _two_pages("run-b", "2026-07-02")
    before = lakes.staged("run-a", 1, *_two_pages("run-a", "2026-07-01"))
    going = [before, lakes.staged("run-b", 1, first)]
    assert _asked(tmp_path / "going", going, run_a=2, run_b=2) == [
        ("a.example", 1, "run-a", 2),
        ("x.example", 15, "run-a", 2),
    ]
    with Lake(tmp_path / "going") as opened:
        assert _rows(opened, "SELECT * FROM rank_changes") == []
    assert _asked(tmp_path / "done", [*going, lakes.staged("run-b", 2, last)], run_a=2, run_b=2) == [
        ("a.example", 1, "run-b", 2),
        ("y.example", 15, "run-b", 2),
    ]


def test_a_run_whose_ledger_has_not_arrived_yet_replaces_none(tmp_path: Path) -> None:
    """Nobody can say yet how many pages it asks."""
    batches = [
        lakes.staged(run, 1, *_two_pages(run, day))
        for run, day in (("run-a", "2026-07-01"), ("run-b", "2026-07-02"))
    ]
    assert [row[2] for row in _asked(tmp_path / "lake", batches, run_a=2)] == ["run-a", "run-a"]


def test_a_retry_is_a_run_of_the_pages_that_it_asks(tmp_path: Path) -> None:
    """Page 1 alone is an answer one page deep, and its ``pages`` say so; page 2 alone is no answer."""
    first, second = _two_pages("run-b", "2026-07-02")
    half = [
        lakes.staged("run-a", 1, *_two_pages("run-a", "2026-07-01")),
        lakes.staged("run-b", 1, lakes.page("k", at="2026-07-02T10:00:00", status="failed"), second),
    ]
    again = [*half, lakes.staged("run-c", 1, first)]
    assert _asked(tmp_path / "one", again, run_a=2, run_b=2, run_c=1) == [("a.example", 1, "run-c", 1)]
    again = [*half, lakes.staged("run-c", 1, second)]
    assert [row[2] for row in _asked(tmp_path / "two", again, run_a=2, run_b=2, run_c=1)] == ["run-a"] * 2


def test_latest_ranks_keep_the_last_whole_answer_when_newer_ones_failed(tmp_path: Path) -> None:
    """The newest run lost page 2: the ranks stay those of the run before, all of them."""
    first, _ = _two_pages("run-b", "2026-07-02")
    lost = lakes.page("k", at="2026-07-02T10:00:01", number=2, status="failed", reason="timeout")
    batches = [
        lakes.staged("run-a", 1, *_two_pages("run-a", "2026-07-01")),
        lakes.staged("run-b", 1, first, lost),
    ]
    assert [row[2] for row in _asked(tmp_path / "lake", batches, run_a=2, run_b=2)] == ["run-a", "run-a"]


def test_the_better_page_names_the_url_where_two_pages_give_the_same_rank(tmp_path: Path) -> None:
    """Page 1 with eleven results and page 2's first are both at 11: the address is page 1's, each time."""
    batches = [
        lakes.staged(
            run,
            number,
            lakes.page(
                "k",
                lakes.organic(11, "a.example", path),
                at=f"{lakes.DAYS[run]}T10:00:0{number}",
                number=number,
            ),
        )
        for run in ("run-a", "run-b")
        for number, path in ((1, "z"), (2, "a"))
    ]
    rows = [lakes.shard_row(run, tasks=2) for run in ("run-a", "run-b")]
    # Files are read in an order that nobody promises: both orders of the pages are asked.
    for name, some in (("one", batches), ("other", batches[::-1])):
        with Lake(lakes.write(tmp_path / name, some, rows)) as opened:
            assert _rows(opened, "SELECT url FROM latest_ranks") == [("https://a.example/z",)]
            changes = "SELECT previous_url, url, change FROM rank_changes"
            assert _rows(opened, changes) == [("https://a.example/z", "https://a.example/z", "same")]


def test_rank_changes_compare_whole_answers_to_their_common_depth(asked: Lake) -> None:
    """Nobody leaves because a page failed, was refused, or was not asked for again (``c.example``)."""
    sql = (
        "SELECT keyword, run_id, previous_run_id, domain, change, previous_rank, rank FROM rank_changes "
        "WHERE locale = 'en-US' AND device = 'desktop' AND change <> 'same' ORDER BY keyword, run_id, domain"
    )
    assert _rows(asked, sql) == [
        ("hats", "run-c", "run-a", "b.example", "left", 1, None),
        ("nichts „ß“ 鞋", "run-b", "run-a", "d.example", "entered", None, 1),
        ("nichts „ß“ 鞋", "run-c", "run-b", "d.example", "left", 1, None),
        ("red shoes", "run-0", "run-a", "a.example", "down", 1, 2),
        ("red shoes", "run-0", "run-a", "b.example", "up", 2, 1),
        ("red shoes", "run-c", "run-0", "a.example", "down", 2, 5),
        ("red shoes", "run-c", "run-0", "d.example", "entered", None, 2),
    ]
    urls = "SELECT previous_url, url FROM rank_changes WHERE domain = 'a.example' AND run_id = 'run-c'"
    assert _rows(asked, urls) == [("https://a.example/3", "https://a.example/2")]


def test_rank_changes_say_same_and_see_runs_of_one_day(tmp_path: Path) -> None:
    """Runs of one day are told apart by when they fetched; an unchanged rank is a row that says so."""
    folder = lakes.write(
        tmp_path / "lake",
        [
            lakes.staged(
                run, 1, lakes.page("k", lakes.organic(rank, "a.example"), at=at), run_date="2026-07-01"
            )
            for run, rank, at in (
                ("run-z", 3, "2026-07-01T08:00:00"),
                ("run-a", 3, "2026-07-01T09:00:00"),
                ("run-m", 1, "2026-07-01T10:00:00"),
            )
        ],
        [lakes.shard_row(run, tasks=1, run_date="2026-07-01") for run in ("run-z", "run-a", "run-m")],
    )
    with Lake(folder) as opened:
        sql = "SELECT run_id, previous_run_id, change FROM rank_changes ORDER BY rank DESC"
        assert _rows(opened, sql) == [("run-a", "run-z", "same"), ("run-m", "run-a", "up")]


def test_share_of_voice_weighs_by_one_over_rank(lake: Lake) -> None:
    """Organic results only; the shares of a run, source, locale and device add up to 1."""
    columns = "domain, keywords, results, weight, share"
    sql = f"SELECT {columns} FROM share_of_voice WHERE run_id = 'run-a' ORDER BY 1"  # noqa: S608  # constants
    total = 1 + 1 / 2 + 1 / 4 + 1 / 11 + 1
    expected = [("a.example", 1, 2, 1.25), ("b.example", 2, 2, 1.5), ("c.example", 1, 1, 1 / 11)]
    rows = _rows(lake, sql)
    assert [row[:3] for row in rows] == [row[:3] for row in expected]
    assert [row[3] for row in rows] == pytest.approx([row[3] for row in expected])
    assert [row[4] for row in rows] == pytest.approx([row[3] / total for row in expected])
    sums = "SELECT sum(share) FROM share_of_voice GROUP BY run_id, run_date, source, locale, device"
    assert [row[0] for row in _rows(lake, sums)] == pytest.approx([1.0] * 4)
