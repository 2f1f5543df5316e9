"""Athena's SQL over DuckDB: what the translation must keep the meaning of."""

# ruff: noqa: S608  # the SQL under test is put together here, of constants

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest

from pipeline.errors import Misuse
from pipeline.query import Lake

RESULT = "(rank, kind, title, url, domain, snippet)"
PLACED = "(rank, kind, title, url, domain, snippet, n)"
RED = "p.keyword = 'red shoes' AND p.run_id = 'run-c' AND p.source = 'alpha'"


def _rows(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return [row for chunk in lake.ask(sql).chunks() for row in chunk]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            f"SELECT t.rank FROM pages p CROSS JOIN UNNEST(p.results) AS t {RESULT} WHERE {RED} ORDER BY 1",
            [(1,), (2,), (5,)],
        ),
        (
            f"SELECT rank FROM pages p, UNNEST(results) AS t {RESULT} WHERE {RED} ORDER BY 1",
            [(1,), (2,), (5,)],
        ),
        (
            f"SELECT r.rank FROM pages p CROSS JOIN UNNEST(results) AS t (r) WHERE {RED} ORDER BY 1",
            [(1,), (2,), (5,)],
        ),
        (
            f"SELECT t.rank FROM pages p CROSS JOIN UNNEST(results) t WHERE {RED} ORDER BY 1",
            [(1,), (2,), (5,)],
        ),
        (f"SELECT rank FROM pages p CROSS JOIN UNNEST(results) WHERE {RED} ORDER BY 1", [(1,), (2,), (5,)]),
        (
            f"SELECT n, rank FROM pages p, UNNEST(results) WITH ORDINALITY t {PLACED} WHERE {RED} ORDER BY n",
            [(1, 1), (2, 2), (3, 5)],
        ),
        (
            f"SELECT rank FROM pages LEFT JOIN UNNEST(results) t {RESULT} ON TRUE WHERE page = 2 ORDER BY 1",
            [(11,), (None,)],
        ),
        (
            f"SELECT (SELECT max(rank) FROM UNNEST(p.results) AS t {RESULT}) FROM pages p WHERE {RED}",
            [(5,)],
        ),
        (
            f"SELECT page FROM pages WHERE EXISTS (SELECT 1 FROM UNNEST(results) t {RESULT} WHERE rank > 9)",
            [(2,)],
        ),
        (f"SELECT cardinality(results), results[1].domain FROM pages p WHERE {RED}", [(3, "b.example")]),
        (f"SELECT element_at(results, 9).url FROM pages p WHERE {RED}", [(None,)]),
        (f"SELECT any_match(results, r -> r.rank = 5) FROM pages p WHERE {RED}", [(True,)]),
        (f"SELECT all_match(results, r -> r.rank = 5) FROM pages p WHERE {RED}", [(False,)]),
        (f"SELECT none_match(results, r -> r.rank = 6) FROM pages p WHERE {RED}", [(True,)]),
        (f"SELECT transform(results, r -> r.rank) FROM pages p WHERE {RED}", [([1, 2, 5],)]),
        (f"SELECT cardinality(filter(results, r -> r.rank < 3)) FROM pages p WHERE {RED}", [(2,)]),
    ],
)
def test_results_are_taken_apart_as_in_athena(lake: Lake, sql: str, expected: list[tuple[Any, ...]]) -> None:
    """Each way in which Trino takes an array of rows apart, and ``AS t (r)``, which keeps the row whole."""
    assert _rows(lake, sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT n FROM UNNEST(ARRAY[3, 4]) AS t (n)", [(3,), (4,)]),
        ("SELECT n, m FROM UNNEST(ARRAY[1, 2], ARRAY['a']) AS t (n, m)", [(1, "a"), (2, None)]),
        ("SELECT n, m FROM UNNEST(ARRAY[ROW(1, 'a'), ROW(2, 'b')]) AS t (n, m)", [(1, "a"), (2, "b")]),
        (
            "SELECT x, n FROM (VALUES 2) AS v (x) CROSS JOIN UNNEST(sequence(1, x)) AS t (n) ORDER BY n",
            [(2, 1), (2, 2)],
        ),
        ("SELECT n, place FROM UNNEST(ARRAY['a']) WITH ORDINALITY AS t (n, place)", [("a", 1)]),
    ],
)
def test_other_arrays_unnest_too(lake: Lake, sql: str, expected: list[tuple[Any, ...]]) -> None:
    assert _rows(lake, sql) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("7 / 2e0", 3.5),
        ("CAST(7 AS double) / 2", 3.5),
        ("7 % 4", 3),
        ("date_diff('hour', TIMESTAMP '2026-07-01 10:59:00', TIMESTAMP '2026-07-01 11:01:00')", 0),
        ("date_diff('day', DATE '2026-07-01', DATE '2026-07-03')", 2),
        ("date_add('day', 1, DATE '2026-07-01') = DATE '2026-07-02'", True),
        ("date_format(TIMESTAMP '2026-07-01 10:05:00', '%Y-%m-%d %H:%i')", "2026-07-01 10:05"),
        ("CAST(date_trunc('week', DATE '2026-07-01') AS date)", date(2026, 6, 29)),
        ("day_of_week(DATE '2026-07-05')", 7),
        ("TIMESTAMP '2026-07-01 10:00:00'", datetime(2026, 7, 1, 10)),  # noqa: DTZ001  # the tables' times have no zone
        ("regexp_like('abc', 'b')", True),
        ("regexp_extract('page=12', '=(\\d+)', 1)", "12"),
        ("split_part('a.b.c', '.', 2)", "b"),
        ("split_part('a,b', ',', 3)", None),
        ("split_part('a,,b', ',', 2)", ""),
        ("regexp_extract('abc', 'nothing')", None),
        ("regexp_extract('abc', 'b')", "b"),
        ("regexp_replace('https://a.example/b', '^https?://([^/]+)/.*$', '$1')", "a.example"),
        ("regexp_replace('ab', '(a)(b)', '$2-$1 \\$ \\\\')", "b-a $ \\"),
        ("regexp_replace('aXbX', 'X')", "ab"),
        ("hour(TIMESTAMP '2026-07-01 10:00:00' AT TIME ZONE 'Europe/Berlin')", 12),
        ("CAST(TIMESTAMP '2026-07-01 23:00:00' AT TIME ZONE 'Europe/Berlin' AS date)", date(2026, 7, 2)),
        ("(SELECT count_if(x > 1) FROM (VALUES CAST(NULL AS integer)) AS t (x))", 0),
        ("(SELECT count_if(x > 1) FROM (VALUES 1) AS t (x) WHERE x > 5)", 0),
        ("(SELECT count_if(x > 1) FILTER (WHERE x < 3) FROM (VALUES 1, 2, 3) AS t (x))", 1),
        ("(SELECT max(n) FROM (SELECT count_if(x > 1) OVER () AS n FROM (VALUES 1, 2, 3) AS t (x)))", 2),
        ("(SELECT count_if(split_part(x, ',', 2) IS NULL) FROM (VALUES 'a', 'a,b') AS t (x))", 1),
        ("any_match(ARRAY['a'], x -> split_part(x, ',', 2) IS NULL)", True),
        ("strpos('abc', 'c')", 3),
        ("concat('a', NULL) IS NULL", True),
        ("array_join(ARRAY['a', 'b'], '-')", "a-b"),
        ("contains(ARRAY[1, 2], 2)", True),
        ("arrays_overlap(ARRAY[1, 2], ARRAY[2])", True),
        ("url_extract_host('https://u:p@www.Example.org:8080/a?b=c#d')", "www.Example.org"),
        ("url_extract_host('no url')", None),
        ("url_extract_protocol('https://x/')", "https"),
        ("url_extract_path('https://x/a/b?c=d')", "/a/b"),
        ("url_extract_query('https://x/a?c=d#e')", "c=d"),
        ("url_extract_fragment('https://x/a?c=d#e')", "e"),
        ("url_extract_parameter('https://x/a?z=1&q=red%20shoes', 'q')", "red shoes"),
        ("url_extract_parameter('https://x/a?z=1', 'q')", None),
        ("to_iso8601(TIMESTAMP '2026-07-01 10:00:00')", "2026-07-01T10:00:00.000"),
        ("try_cast('x' AS integer)", None),
        ("coalesce(try(CAST('x' AS integer)), 5)", 5),
        ("if(1 = 1, 'yes', 'no')", "yes"),
        ("format('%s', 'a')", "a"),
        ("format('%s of %s: %d%%', 'a', 2, 3)", "a of 2: 3%"),
        ("format('%05.1f', 3.14159e0)", "003.1"),
        ("json_extract_scalar('{\"a\": \"b\"}', '$.a')", "b"),
        ("element_at(map(ARRAY['a'], ARRAY[1]), 'a')", 1),
    ],
)
def test_functions_mean_what_they_mean_in_athena(lake: Lake, expression: str, expected: object) -> None:
    assert _rows(lake, f"SELECT {expression}") == [(expected,)]


def test_aggregates_of_athena(lake: Lake) -> None:
    sql = (
        "SELECT approx_distinct(keyword), count_if(status = 'ok'), max_by(keyword, fetched_at), "
        "every(page < 3), cardinality(map_agg(task_id, page)), approx_percentile(latency_ms, 0.5), "
        "arbitrary(device), listagg(DISTINCT status, ',') WITHIN GROUP (ORDER BY status) FROM pages"
    )
    assert _rows(lake, sql) == [(4, 10, "red shoes", True, 14, 250, "desktop", "failed,ok,refused")]


def test_nulls_sort_last_both_ways(lake: Lake) -> None:
    for way in ("ASC", "DESC"):
        assert _rows(lake, f"SELECT x FROM (VALUES 1, NULL) AS t (x) ORDER BY x {way}")[-1] == (None,)


def test_sums_of_integers_are_bigint(lake: Lake) -> None:
    """DuckDB's sums are wider than any format knows; Trino's are bigint and fail where they overflow."""
    answer = lake.ask("SELECT sum(bytes) AS bytes FROM pages")
    assert str(answer.schema.field("bytes").type) == "int64"
    assert [row for rows in answer.chunks() for row in rows] == [(14_000,)]
    with pytest.raises(Misuse, match="beyond a bigint"):
        _rows(lake, "SELECT sum(x) AS total FROM (VALUES 9223372036854775807, 9223372036854775807) AS t (x)")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1;",
        "-- why\nSELECT 1 -- because",
        "/* why */ WITH a AS (SELECT 1 AS x) SELECT x FROM a",
        "VALUES 1",
        "(SELECT 1)",
        "SELECT 1 UNION SELECT 1",
        "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 1) SELECT n FROM t",
        "SELECT 1 FROM serpline.runs LIMIT 1",
        'SELECT 1 FROM "AwsDataCatalog"."anything"."Pages" LIMIT 1',
        "SELECT x FROM (VALUES 0, 1, 2) AS t (x) ORDER BY x OFFSET 1 LIMIT 1",
        "SELECT x FROM (VALUES 1, 2) AS t (x) ORDER BY x FETCH FIRST 1 ROWS ONLY",
    ],
)
def test_reading_statements_of_every_shape(lake: Lake, sql: str) -> None:
    assert _rows(lake, sql) == [(1,)]


def test_show_and_describe(lake: Lake) -> None:
    """Athena's own ways to look around: tables with the views, views alone, columns with types."""
    every = [
        ("closings",),
        ("closures",),
        ("drift",),
        ("latest_ranks",),
        ("pages",),
        ("rank_changes",),
        ("refusals",),
        ("results",),
        ("runs",),
        ("shards",),
        ("share_of_voice",),
    ]
    assert _rows(lake, "SHOW TABLES") == every
    assert _rows(lake, "show tables in serpline;") == every
    assert _rows(lake, "SHOW VIEWS") == [
        row for row in every if row[0] not in ("closings", "pages", "shards")
    ]
    for sql in (
        "DESCRIBE refusals",
        "desc serpline.refusals",
        "SHOW COLUMNS FROM refusals",
        "SHOW COLUMNS IN Refusals",
    ):
        assert _rows(lake, sql)[:3] == [("run_id", "varchar"), ("run_date", "date"), ("source", "varchar")]
    with pytest.raises(Misuse, match="understood are SHOW TABLES"):
        lake.ask("SHOW CREATE VIEW runs")


def test_explain_gives_a_plan_and_runs_nothing(lake: Lake) -> None:
    for sql in ("EXPLAIN SELECT * FROM runs", "explain analyze\nSELECT count(*) FROM pages"):
        answer = lake.ask(sql)
        assert [column.name for column in answer.columns] == ["plan"]
        assert "Parquet" in "".join(row[0] for rows in answer.chunks() for row in rows).title()
