"""The views, answered over three small runs whose pages stand in ``lakes.small``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from pipeline.query import Lake
from stages.tables import PAGES, TABLES
from stages.views import ATHENA, DUCKDB, VIEWS, View, render
from tests.pipeline.query import functions, lakes

_NAMES = [view.name for view in VIEWS]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with Lake(lakes.small(tmp_path_factory.mktemp("views") / "lake")) as opened:
        yield opened


def _rows(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return [row for chunk in lake.ask(sql).chunks() for row in chunk]


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).replace(tzinfo=None)


def test_results_counts_on_over_pages_and_leaves_out_what_gave_none(lake: Lake) -> None:
    """Each result is a row with its page's columns; failed, refused and empty pages give no row."""
    sql = "SELECT keyword, page, rank, kind, domain FROM results WHERE run_id = 'run-a' ORDER BY 1, 2, 3, 4"
    assert _rows(lake, sql) == [
        ("hats", 1, 1, "organic", "b.example"),
        ("red shoes", 1, 1, "ad", "ads.example"),
        ("red shoes", 1, 1, "organic", "a.example"),
        ("red shoes", 1, 2, "organic", "b.example"),
        ("red shoes", 1, 4, "organic", "a.example"),
        ("red shoes", 2, 11, "organic", "c.example"),
    ]
    one = "SELECT run_date, source, locale, device, title, url, snippet, fetched_at FROM results "
    assert _rows(lake, one + "WHERE keyword = 'hats'") == [
        (
            date(2026, 7, 1),
            "alpha",
            "en-US",
            "desktop",
            "A title",
            "https://b.example/hats",
            "Words",
            _at("2026-07-01T10:00:02"),
        )
    ]


def test_refusals_count_what_ended_refused(lake: Lake) -> None:
    sql = "SELECT * FROM refusals"
    assert _rows(lake, sql) == [
        (
            "run-b",
            date(2026, 7, 2),
            "alpha",
            "http_429",
            2,
            2,
            _at("2026-07-02T10:59:00"),
            _at("2026-07-02T11:01:00"),
        )
    ]


def test_closures_last_from_the_first_refusal_until_the_source_was_open_again(lake: Lake) -> None:
    """One row a closure, however often it was prolonged; only a source's latest is still closed."""
    sql = "SELECT * FROM closures ORDER BY source, closed_at"
    assert _rows(lake, sql) == [
        ("alpha", _at("2026-07-02T23:58:00"), _at("2026-07-03T00:01:30"), 3.5, "http_429", 2, False),
        ("alpha", _at("2026-07-03T09:00:00"), None, None, "http_403", 1, False),
        ("alpha", _at("2026-07-03T12:00:00"), None, None, "http_503", 1, True),
        (
            "beta",
            _at("2026-07-03T10:00:00"),
            _at("2026-07-03T10:00:15"),
            0.25,
            "robots_unreachable",
            1,
            False,
        ),
    ]


def test_drift_shows_hours_with_unreadable_pages_and_missing_fields(lake: Lake) -> None:
    """Shares are NULL where there is nothing to have a share of."""
    sql = (
        "SELECT source, hour, pages, ok, refused, failed, unreadable_share, empty_share, results, "
        "results_a_page, no_title_share, no_url_share, no_snippet_share FROM drift ORDER BY source, hour"
    )
    assert _rows(lake, sql) == [
        ("alpha", _at("2026-07-01T10:00:00"), 3, 3, 0, 0, 0.0, 0.0, 6, 2.0, 1 / 6, 0.0, 2 / 6),
        ("alpha", _at("2026-07-01T11:00:00"), 2, 1, 0, 1, 0.5, 1.0, 0, 0.0, None, None, None),
        ("alpha", _at("2026-07-02T10:00:00"), 3, 1, 1, 1, 0.0, 0.0, 2, 2.0, 0.0, 0.0, 0.0),
        ("alpha", _at("2026-07-02T11:00:00"), 2, 1, 1, 0, 0.0, 0.0, 1, 1.0, 0.0, 0.0, 0.0),
        ("alpha", _at("2026-07-03T10:00:00"), 3, 3, 0, 0, 0.0, 2 / 3, 3, 1.0, 0.0, 0.0, 0.0),
        ("beta", _at("2026-07-03T10:00:00"), 1, 1, 0, 0, 0.0, 0.0, 1, 1.0, 0.0, 0.0, 0.0),
    ]


def test_runs_prove_a_run_complete_or_say_what_is_missing(lake: Lake) -> None:
    """Complete: all parts sharded and a page a task. A refused file is complete, and says why it is empty."""
    sql = (
        "SELECT run_id, file, parts, parts_sharded, lines, kept, rejected, duplicates, tasks, pages, ok, "
        "refused, failed, missing, complete, file_refused FROM runs ORDER BY run_id"
    )
    assert _rows(lake, sql) == [
        ("run-a", "run-a.csv", 2, 2, 7, 4, 1, 2, 5, 5, 4, 0, 1, 0, True, None),
        ("run-b", "run-b.csv", 1, 1, 4, 4, 0, 0, 5, 5, 2, 2, 1, 0, True, None),
        ("run-c", "run-c.csv", 1, 1, 5, 5, 0, 0, 6, 4, 4, 0, 0, 2, False, None),
        ("run-d", "run-d.csv", 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, True, "not UTF-8"),
    ]
    times = "SELECT first_fetched_at, last_fetched_at FROM runs WHERE run_id = 'run-a'"
    assert _rows(lake, times) == [(_at("2026-07-01T10:00:00"), _at("2026-07-01T11:00:01"))]


def test_runs_show_pages_whose_shard_rows_are_not_committed_yet(tmp_path: Path) -> None:
    """A part that is still missing leaves the run incomplete, even when no task of it is known."""
    folder = lakes.write(
        tmp_path / "lake",
        [
            lakes.staged("run-a", 1, lakes.page("k", at="2026-07-01T10:00:00")),
            lakes.staged("run-b", 1, lakes.page("k", at="2026-07-02T10:00:00")),
        ],
        [lakes.shard_row("run-b", 0, 2, tasks=1)],
    )
    with Lake(folder) as opened:
        sql = "SELECT run_id, parts, parts_sharded, tasks, pages, missing, complete FROM runs ORDER BY run_id"
        assert _rows(opened, sql) == [
            ("run-a", None, 0, None, 1, None, False),
            ("run-b", 2, 1, 1, 1, 0, False),
        ]


def test_runs_in_which_nothing_was_found_behave(tmp_path: Path) -> None:
    """No result anywhere: no view fails, none divides by zero, and the ledger counts the pages."""
    folder = lakes.write(
        tmp_path / "lake",
        [
            lakes.staged(run, 1, lakes.page("k", at=f"{lakes.DAYS[run]}T10:00:00"))
            for run in ("run-a", "run-b")
        ],
    )
    with Lake(folder) as opened:
        counts = {name: len(_rows(opened, f"SELECT * FROM {name}")) for name in _NAMES}  # noqa: S608  # our names
    assert counts == {
        "results": 0,
        "latest_ranks": 0,
        "rank_changes": 0,
        "share_of_voice": 0,
        "refusals": 0,
        "closures": 0,
        "drift": 2,
        "runs": 2,
    }


@pytest.mark.parametrize("view", VIEWS, ids=_NAMES)
def test_a_view_has_the_columns_it_declares(lake: Lake, view: View) -> None:
    """Names, order and types, as Glue will be told them."""
    types = {"timestamp": "timestamp(6)"}
    answer = lake.ask(f"SELECT * FROM {view.name}")  # noqa: S608  # our name
    assert [(one.name, types.get(one.type, one.type)) for one in answer.columns] == [
        (column.name, column.type) for column in view.columns
    ]


@pytest.mark.parametrize("view", VIEWS, ids=_NAMES)
def test_a_view_is_athena_sql_over_known_tables(view: View) -> None:
    """It parses in Athena's dialect, names tables and the views before it, and has no time with a zone."""
    before = [spec.name for spec in TABLES] + _NAMES[: _NAMES.index(view.name)]
    for dialect, language in ((ATHENA, "athena"), (DUCKDB, "duckdb")):
        tree = sqlglot.parse_one(render(view, dialect), read=language)
        assert isinstance(tree, exp.Select)
        inner = {cte.alias for cte in tree.find_all(exp.CTE)}
        named = {table.name for table in tree.find_all(exp.Table)}
        assert named - inner <= set(before)
        assert [one.alias_or_name for one in tree.selects] == [column.name for column in view.columns]
    assert not any("time zone" in column.type for column in view.columns)


@pytest.mark.parametrize("view", VIEWS, ids=_NAMES)
def test_a_view_calls_only_functions_that_trino_has(view: View) -> None:
    """Whatever the parser takes for a function: it knows the grammar, and takes any name for one."""
    assert not functions.unknown(render(view, ATHENA))
    assert functions.unknown("SELECT list_filter(x, 1), count(*) FROM t AS u (x)") == {"list_filter"}


def test_athena_takes_results_apart_in_the_order_of_the_table() -> None:
    """Trino names the columns of UNNEST by position: another order would silently swap them."""
    element = PAGES.schema.field("results").type.value_type
    names = ", ".join(element.field(at).name for at in range(element.num_fields))
    assert f"UNNEST(p.results) AS r ({names})" in ATHENA.unnested
