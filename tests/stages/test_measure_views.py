"""The views over measurements, answered over a few probes whose answers were worked out by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlglot
from sqlglot import exp

from pipeline.errors import Misuse
from pipeline.query import Lake
from stages.athena_views import stored_view
from stages.measure_report import figures
from stages.measure_views import MEASURE_VIEWS
from stages.tables import EVERY_TABLE, MEASUREMENTS
from stages.views import ATHENA, DUCKDB, VIEWS, View, render
from tests.pipeline.query import lakes
from tests.stages import measured

NAMES = [view.name for view in MEASURE_VIEWS]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("measured") / "lake"
    with Lake(measured.write(folder, [*measured.LIFETIME, *measured.SCALING])) as opened:
        yield opened


def rows(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return [row for chunk in lake.ask(sql).chunks() for row in chunk]


def test_lifetimes_count_what_was_still_there_after_a_pause(lake: Lake) -> None:
    """Each probe is compared with the one planned before it of its copy, whether that one failed or not."""
    sql = (
        "SELECT function, pause_s, probes, same_environment, kept_share, addresses, same_address, "
        "address_share, rested_s, disturbed, unpaired FROM lifetimes "
        "WHERE experiment = 'lifetime-1' ORDER BY function, pause_s"
    )
    assert rows(lake, sql) == [
        ("serpline-probe", 300.0, 3, 2, 2 / 3, 2, 1, 0.5, 300.0, 1, 0),
        ("serpline-probe", 600.0, 1, 0, 0.0, 1, 1, 1.0, 600.0, 0, 1),
        ("serpline-probe-1", 600.0, 1, 1, 1.0, 0, 0, None, 600.0, 0, 0),
    ]
    times = "SELECT first_started_at, last_started_at FROM lifetimes WHERE probes = 3"
    assert rows(lake, times) == [(datetime(2027, 1, 15, 8, 5, 1), datetime(2027, 1, 15, 8, 30, 5))]  # noqa: DTZ001  # as in the table


def test_scaling_counts_a_level(lake: Lake) -> None:
    """Most at once is what overlaps; an environment that begins when another ends is not beside it."""
    sql = (
        "SELECT level, probes, environments, new_environments, most_at_once, boots, addresses, delay_p50_ms, "
        "delay_p90_ms, delay_p99_ms, repeated, errors FROM scaling ORDER BY level"
    )
    assert rows(lake, sql) == [
        (0, 1, 1, 1, 1, 1, 1, 400.0, 400.0, 400.0, 0, 0),
        (1, 4, 3, 2, 3, 2, 2, 300.0, 900.0, 900.0, 1, 1),
    ]
    times = "SELECT first_started_at, last_finished_at FROM scaling WHERE level = 1"
    assert rows(lake, times) == [(datetime(2027, 1, 15, 8, 0, 2), datetime(2027, 1, 15, 8, 0, 9))]  # noqa: DTZ001  # as in the table


def test_percentiles_are_by_the_nearest_rank(tmp_path: Path) -> None:
    """Of a hundred delays of 1 to 100 ms they are 50, 90 and 99 to the digit, whatever the engine."""
    probes = [measured.tree(slot, slot, delay_ms=float(1 + slot * 37 % 100)) for slot in range(100)]
    with Lake(measured.write(tmp_path / "lake", probes)) as opened:
        sql = "SELECT delay_p50_ms, delay_p90_ms, delay_p99_ms FROM scaling"
        assert rows(opened, sql) == [(50.0, 90.0, 99.0)]


def test_a_lake_in_which_nothing_was_measured_has_neither(tmp_path: Path) -> None:
    """It opens as ever, and whoever asks is told what there is."""
    with Lake(lakes.write(tmp_path / "lake", [])) as opened:
        assert rows(opened, "SELECT count(*) FROM runs") == [(0,)]
        assert not {*NAMES, MEASUREMENTS.name} & {name for (name,) in rows(opened, "SHOW TABLES")}
        with pytest.raises(Misuse, match="no table 'scaling' here"):
            opened.ask("SELECT * FROM scaling")


def test_a_measured_lake_shows_the_table_and_its_views(lake: Lake) -> None:
    assert {*NAMES, MEASUREMENTS.name} <= {name for (name,) in rows(lake, "SHOW TABLES")}
    assert set(NAMES) <= {name for (name,) in rows(lake, "SHOW VIEWS")}


@pytest.mark.parametrize("view", MEASURE_VIEWS, ids=NAMES)
def test_a_view_has_the_columns_it_declares(lake: Lake, view: View) -> None:
    """Names, order and types, as Glue will be told them."""
    types = {"timestamp": "timestamp(6)"}
    answer = lake.ask(f"SELECT * FROM {view.name}")  # noqa: S608  # our name
    assert [(one.name, types.get(one.type, one.type)) for one in answer.columns] == [
        (column.name, column.type) for column in view.columns
    ]


@pytest.mark.parametrize("view", MEASURE_VIEWS, ids=NAMES)
def test_a_view_is_athena_sql_over_its_table_alone(view: View) -> None:
    """It parses in both dialects, is the same in both, and in Athena names the table with its database."""
    assert render(view, ATHENA) == render(view, DUCKDB)
    for language in ("athena", "trino", "duckdb"):
        tree = sqlglot.parse_one(render(view, ATHENA), read=language)
        inner = {cte.alias for cte in tree.find_all(exp.CTE)}
        assert not inner & {one.name for one in (*EVERY_TABLE, *VIEWS, *MEASURE_VIEWS)}
        assert {table.name for table in tree.find_all(exp.Table)} - inner == {"measurements"}
        assert [one.alias_or_name for one in tree.selects] == [column.name for column in view.columns]
    stored = sqlglot.parse_one(stored_view(view, "team_a").sql, read="athena")
    named = [table for table in stored.find_all(exp.Table) if table.name == "measurements"]
    assert named
    assert {table.db for table in named} == {"team_a"}


def test_a_report_and_the_views_give_the_same_numbers(tmp_path: Path) -> None:
    """Whoever compares the page with a query of their own finds no other truth."""
    life = measured.long_lifetime("lifetime-long")
    life[9] = msgspec.structs.replace(life[9], error="died", environment="nobody's")
    life[20] = msgspec.structs.replace(life[20], address=None)
    tree = measured.whole_tree("scaling-whole")
    with Lake(measured.write(tmp_path / "lake", [*life, *tree])) as opened:
        sql = (
            "SELECT function, pause_s, same_environment, probes, same_address, addresses FROM lifetimes "
            "ORDER BY function, pause_s"
        )
        found = []
        for copy, some in figures.by_copy(figures.steps(life)).items():
            addresses = {point.pause_s: point for point in figures.kept(some, address=True)}
            for point in figures.kept(some):
                address = addresses.get(point.pause_s, figures.Kept(point.pause_s, 0, 0))
                found.append((copy, point.pause_s, point.same, point.probes, address.same, address.probes))
        assert rows(opened, sql) == found
        names = (
            "level, probes, environments, new_environments, most_at_once, boots, addresses, delay_p50_ms, "
            "delay_p90_ms, delay_p99_ms, repeated, errors"
        )
        levels = [msgspec.structs.astuple(level) for level in figures.levels(tree)]
        assert rows(opened, f"SELECT {names} FROM scaling ORDER BY level") == levels  # noqa: S608  # our names


PAGE = (Path(__file__).parents[2] / "docs" / "measure.md").read_text("utf-8")


@pytest.mark.parametrize("view", MEASURE_VIEWS, ids=NAMES)
def test_the_docs_name_each_views_columns(view: View) -> None:
    columns = ", ".join(f"`{column.name}`" for column in view.columns)
    assert f"| `{view.name}` | {view.row} | {columns} |" in PAGE


@pytest.mark.parametrize("sql", re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL))
def test_a_query_of_the_docs_runs_and_finds_something(lake: Lake, sql: str) -> None:
    assert isinstance(sqlglot.parse_one(sql, read="athena"), exp.Query)
    assert rows(lake, sql)
