"""What a query is told where it is wrong, what it may not do, and how its answer is read."""

# ruff: noqa: S608  # the SQL under test is put together here, of constants

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.errors import Misuse
from pipeline.query import Lake


def _rows(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return [row for chunk in lake.ask(sql).chunks() for row in chunk]


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT * FROM nope", "no table 'nope' here; there are closings, closures, drift"),
        ("SELECT * FROM runs JOIN a.b.c ON TRUE", "no table 'a.b.c' here"),
        ("DESCRIBE nope", "no table 'nope' here"),
        ("SELECT keywrd FROM pages", '"keywrd" not found .*"keyword"'),
        ("SELECT p.nope FROM pages AS p", "nope"),
        ("SELECT count(* FROM pages", "line 1, column 19, at 'FROM': Expecting"),
        ("SELECT keyword\nFROM pages\nWHERE AND", r"line 3, column \d+"),
        ("EXPLAIN SELECT keyword\nFROM pages\nWHERE AND", r"line 3, column \d+"),
        ("SELECT 'open", "is a quote or a comment left open"),
        ("", "the query is empty"),
        ("  -- nothing\n;", "the query is empty"),
        ("SELECT keyword, count(*) FROM pages", "GROUP BY"),
        ("SELECT nope(1)", "nope does not exist"),
        ("SELECT 1 / 0", "zero"),
        ("SELECT CAST(keyword AS integer) FROM pages", "Could not convert"),
        ("SELECT * FROM pages WHERE run_date = 'yesterday'", "yesterday"),
        ("SELECT ?", "does not work"),
        (
            "SELECT * FROM pages FOR TIMESTAMP AS OF TIMESTAMP '2026-07-01 00:00:00'",
            "answered by Athena only",
        ),
        ('SELECT * FROM "pages$snapshots"', "no table 'pages\\$snapshots'"),
        ("SELECT * FROM information_schema.tables", "no table 'information_schema.tables'"),
        ("SELECT reduce(ARRAY[1], 0, (s, x) -> s + x, s -> s)", "runs in Athena only"),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "nested too deeply"),
    ],
)
def test_a_mistake_is_told_in_one_line(lake: Lake, sql: str, told: str) -> None:
    """What is wrong, where, and what there is instead; never a traceback's worth of text."""
    with pytest.raises(Misuse, match=told) as raised:
        _rows(lake, sql)
    assert "\n" not in str(raised.value)
    assert not str(raised.value).startswith("the query does not work: Binder Error")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM '/etc/passwd'",
        'SELECT * FROM "/etc/passwd"',
        "SELECT * FROM 'https://example.org/x.parquet'",
        "SELECT * FROM TABLE(read_text('/etc/passwd'))",
        "SELECT * FROM pages, LATERAL read_text('/etc/passwd')",
        "SELECT * FROM pages CROSS JOIN read_text('/etc/passwd') AS t",
        "SELECT (SELECT content FROM read_text('/etc/passwd'))",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM enable_logging(storage_path => '/tmp/x')",
        "COPY pages TO '{out}'",
        "COPY (SELECT 1) TO '{out}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
        "UNLOAD (SELECT 1) TO '{out}'",
        "EXPORT DATABASE '{out}'",
        "ATTACH '{out}' AS other",
        "CREATE TABLE t AS SELECT 1",
        "CREATE OR REPLACE VIEW runs AS SELECT 1",
        "SELECT 1 INTO t",
        "INSERT INTO pages SELECT * FROM pages",
        "WITH gone AS (DELETE FROM pages RETURNING 1) SELECT * FROM gone",
        "DELETE FROM pages",
        "UPDATE pages SET keyword = ''",
        "MERGE INTO pages USING runs ON TRUE WHEN MATCHED THEN DELETE",
        "DROP VIEW runs",
        "SELECT 1; DROP VIEW runs",
        "SELECT 1; SELECT 2",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "PRAGMA enable_profiling",
        "CALL pragma_version()",
        "PREPARE x FROM SELECT 1",
        "EXECUTE x",
        "VACUUM pages",
        "OPTIMIZE pages REWRITE DATA USING BIN_PACK",
    ],
)
def test_what_does_not_only_read_the_lake_is_refused(lake: Lake, tmp_path: Path, sql: str) -> None:
    """Nothing is written, nothing outside is read, and the lake answers on as before."""
    out = tmp_path / "out"
    with pytest.raises(Misuse) as raised:
        _rows(lake, sql.replace("{out}", str(out)))
    assert "\n" not in str(raised.value)
    assert "root:" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
    assert _rows(lake, "SELECT count(*) FROM runs") == [(4,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "COPY (SELECT 1) TO '{out}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
        "EXPORT DATABASE '{out}'",
        "ATTACH '{out}' AS other",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET allowed_paths = ['/etc/passwd']",
        "INSTALL httpfs",
        "SELECT * FROM enable_logging(storage_path := '{out}')",
    ],
)
def test_the_second_wall_holds_without_the_first(lake: Lake, tmp_path: Path, sql: str) -> None:
    """DuckDB itself is locked to the lake's files: what the translation let through would fail there."""
    with pytest.raises(duckdb.Error):
        lake._connection.execute(sql.replace("{out}", str(tmp_path / "out")))
    assert list(tmp_path.iterdir()) == []


def test_a_python_variable_is_no_table(lake: Lake) -> None:
    """DuckDB would find data frames by the names of variables around the call."""
    secret = Lake
    with pytest.raises(Misuse, match="no table 'secret'"):
        lake.ask("SELECT * FROM secret")
    with pytest.raises(duckdb.Error):
        lake._connection.execute("SELECT * FROM secret")
    assert secret is Lake


def test_two_answers_may_be_read_side_by_side(lake: Lake) -> None:
    one, other = (lake.ask("SELECT x FROM UNNEST(sequence(1, 30000)) AS t (x) ORDER BY x") for _ in range(2))
    seen = [(left[0], right[0]) for left, right in zip(one.chunks(), other.chunks(), strict=True)]
    assert seen[0] == ((1,), (1,))
    assert len(seen) >= 3


def test_an_answer_that_is_not_read_to_its_end_does_no_harm(small_folder: Path) -> None:
    with Lake(small_folder) as lake:
        rows = lake.ask("SELECT a.x FROM UNNEST(sequence(1, 1000000)) AS a (x)").chunks()
        assert len(next(rows)) > 0
        assert _rows(lake, "SELECT 1") == [(1,)]


def test_a_large_answer_is_streamed(lake: Lake) -> None:
    """Forty million rows would be gigabytes; the first of them come at once and cost little."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many = "(SELECT x FROM UNNEST(sequence(1, 200)) AS t (x))"
    answer = lake.ask(
        f"SELECT a.x, 'some text of a row' AS y FROM {many} AS a, {many} AS b, {many} AS c, {many} AS d"
    )
    first = next(answer.batches())
    assert 0 < first.num_rows <= 20_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_a_row_that_fails_late_is_told_in_one_line(lake: Lake) -> None:
    sql = "SELECT CAST(if(x = 150000, 'late', '1') AS integer) FROM UNNEST(sequence(1, 200000)) AS t (x)"
    with pytest.raises(Misuse, match="late") as raised:
        _rows(lake, sql)
    assert "\n" not in str(raised.value)
