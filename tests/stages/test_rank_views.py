"""The views about ranks, answered over three small runs whose pages stand in ``lakes.small``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline.query import Lake
from tests.pipeline.query import lakes


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with Lake(lakes.small(tmp_path_factory.mktemp("ranks") / "lake")) as opened:
        yield opened


def _rows(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return [row for chunk in lake.ask(sql).chunks() for row in chunk]


def test_latest_ranks_are_of_the_latest_whole_answer(lake: Lake) -> None:
    """The best organic rank a domain; a later run that found nothing is an answer, a failed one is none."""
    sql = "SELECT source, keyword, domain, rank, url, run_id, run_date FROM latest_ranks ORDER BY 1, 2, 4"
    day = date(2026, 7, 3)
    assert _rows(lake, sql) == [
        ("alpha", "red shoes", "b.example", 1, "https://b.example/1", "run-c", day),
        ("alpha", "red shoes", "d.example", 2, "https://d.example/", "run-c", day),
        ("alpha", "red shoes", "a.example", 5, "https://a.example/2", "run-c", day),
        ("beta", "red shoes", "z.example", 1, "https://z.example/", "run-c", day),
    ]


def test_latest_ranks_keep_the_last_whole_answer_when_newer_ones_failed(tmp_path: Path) -> None:
    """The newest run lost page 2: the ranks stay those of the run before, all of them."""
    whole = [lakes.organic(1, "a.example"), lakes.organic(2, "b.example")]
    folder = lakes.write(
        tmp_path / "lake",
        [
            lakes.staged("run-a", 1, lakes.page("k", *whole, at="2026-07-01T10:00:00")),
            lakes.staged(
                "run-b",
                1,
                lakes.page("k", lakes.organic(1, "b.example"), at="2026-07-02T10:00:00"),
                lakes.page("k", at="2026-07-02T10:00:01", number=2, status="failed", reason="timeout"),
            ),
        ],
    )
    with Lake(folder) as opened:
        assert _rows(opened, "SELECT domain, rank, run_id FROM latest_ranks ORDER BY rank") == [
            ("a.example", 1, "run-a"),
            ("b.example", 2, "run-a"),
        ]


def test_rank_changes_compare_whole_answers_to_their_common_depth(lake: Lake) -> None:
    """Nobody leaves because a page failed, was refused, or was not asked for again (``c.example``)."""
    sql = (
        "SELECT keyword, run_id, previous_run_id, domain, change, previous_rank, rank "
        "FROM rank_changes ORDER BY keyword, run_id, domain"
    )
    assert _rows(lake, sql) == [
        ("hats", "run-c", "run-a", "b.example", "left", 1, None),
        ("nichts „ß“ 鞋", "run-b", "run-a", "d.example", "entered", None, 1),
        ("nichts „ß“ 鞋", "run-c", "run-b", "d.example", "left", 1, None),
        ("red shoes", "run-c", "run-a", "a.example", "down", 1, 5),
        ("red shoes", "run-c", "run-a", "b.example", "up", 2, 1),
        ("red shoes", "run-c", "run-a", "d.example", "entered", None, 2),
    ]
    urls = "SELECT previous_url, url FROM rank_changes WHERE domain = 'a.example'"
    assert _rows(lake, urls) == [("https://a.example/1", "https://a.example/2")]


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
