"""What the views read of the files: conditions reach them, and what no condition reaches is small."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.query import Lake
from tests.pipeline.query import lakes


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with Lake(lakes.small(tmp_path_factory.mktemp("readings") / "lake")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("view", "narrowed"),
    [
        ("results", ("run_date", "source")),
        ("share_of_voice", ("run_date", "source")),
        ("refusals", ("run_date", "source")),
        ("closures", ("source",)),
        ("drift", ("run_date", "source")),
        ("runs", ("run_date",)),
        ("latest_ranks", ("source",)),
        ("rank_changes", ("source",)),
    ],
)
def test_a_condition_on_a_partition_reaches_every_reading_of_the_files(
    lake: Lake, view: str, narrowed: tuple[str, ...]
) -> None:
    values = {"run_date": "DATE '2026-07-02'", "source": "'alpha'"}
    where = " AND ".join(f"{name} = {values[name]}" for name in narrowed)
    explain = f"EXPLAIN (FORMAT json) SELECT * FROM {view} WHERE {where}"  # noqa: S608  # our names
    plan = json.loads(lake._connection.execute(explain).fetchall()[0][1])
    scans = [(columns, filters) for columns, filters in _scans(plan) if not _counts_runs(columns)]
    assert scans
    for _, filters in scans:
        assert all(f"({name} = " in filters for name in narrowed)


@pytest.mark.parametrize(("view", "readings"), [("latest_ranks", 2), ("rank_changes", 3)])
def test_whether_runs_are_complete_costs_next_to_nothing(lake: Lake, view: str, readings: int) -> None:
    """Beside the readings that conditions narrow, `pages` is read once more: two columns of a value a run."""
    explain = f"EXPLAIN (FORMAT json) SELECT * FROM {view} WHERE keyword = 'hats'"  # noqa: S608  # our names
    scans = list(_scans(json.loads(lake._connection.execute(explain).fetchall()[0][1])))
    narrowed = [filters for _, filters in scans if "(keyword = 'hats')" in filters]
    ledger = [columns for columns, _ in scans if _counts_runs(columns)]
    assert (len(narrowed), len(scans)) == (readings, readings + 2)
    assert sorted(ledger, key=len) == [["run_id", "run_date"], ["run_id", "run_date", "parts", "tasks"]]


def _scans(nodes: list[dict[str, Any]]) -> Iterator[tuple[list[str], str]]:
    """The columns and the conditions of each reading of files in a plan."""
    for node in nodes:
        if node["name"].strip() == "READ_PARQUET":
            told = node["extra_info"]
            yield list(told["Projections"]), str(told.get("Filters", ""))
        yield from _scans(node["children"])


def _counts_runs(columns: list[str]) -> bool:
    """Whether a reading can tell nothing but how many tasks and pages a run has."""
    return set(columns) <= {"run_id", "run_date", "parts", "tasks"}
