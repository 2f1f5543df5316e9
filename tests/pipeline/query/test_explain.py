"""What a query will read, in sentences: of a lake's files, and of what Athena plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Misuse
from pipeline.query.athena import AthenaQuery
from pipeline.query.dialect import check_reads
from pipeline.query.explain import Reading, athena_readings, bytes_text, sentences
from pipeline.query.lake_plan import _conditions, lake_readings
from tests.pipeline.query import lakes
from tests.pipeline.query.fake_athena import FakeAthena, page, state


def _sizes(folder: Path, table: str) -> list[int]:
    return [path.stat().st_size for path in (folder / "tables").rglob(f"{table}/data/**/*.parquet")]


def _files(folder: Path, sql: str) -> list[tuple[str, tuple[str, ...], str]]:
    return [(one.table, one.where, one.size.split(",")[0]) for one in lake_readings(folder, sql)]


@pytest.mark.parametrize(
    ("sql", "where", "files"),
    [
        ("SELECT * FROM pages", (), "4 of 4 files"),
        (
            "SELECT * FROM pages WHERE run_date = DATE '2026-07-02'",
            ("run_date = 2026-07-02",),
            "1 of 4 files",
        ),
        (
            "SELECT domain FROM results WHERE run_date >= DATE '2026-07-02' AND source = 'alpha'",
            ("run_date >= 2026-07-02", "source = alpha"),
            "2 of 4 files",
        ),
        ("SELECT * FROM pages WHERE source IN ('beta', 'x')", ("source in (beta, x)",), "1 of 4 files"),
        (
            "SELECT * FROM pages WHERE source = 'beta' OR source = 'x'",
            ("(source = beta or source = x)",),
            "1 of 4 files",
        ),
        ("SELECT * FROM pages WHERE keyword = 'zzz'", ("keyword = zzz",), "0 of 4 files"),
        ("SELECT * FROM pages WHERE source = 'alpha' OR length(source) = 4", (), "4 of 4 files"),
        ("SELECT * FROM pages WHERE NOT source = 'alpha'", (), "4 of 4 files"),
        (
            "SELECT * FROM pages WHERE fetched_at > TIMESTAMP '2026-07-02 10:00:00' AND bytes > 5",
            ("fetched_at > 2026-07-02 10:00:00", "bytes > 5"),
            "4 of 4 files",
        ),
        ("SELECT * FROM pages WHERE source = 'it''s'", ("source = it's",), "0 of 4 files"),
    ],
)
def test_a_local_query_says_which_files_may_hold_its_rows(
    small_folder: Path, sql: str, where: tuple[str, ...], files: str
):
    """Conditions on partitions and keywords leave files out; what is not understood leaves none out."""
    assert _files(small_folder, sql) == [("pages", where, files)]


def test_an_or_narrows_only_what_both_of_its_sides_bind():
    """Of (source or keyword) no column is bound: the warning stays. Of an AND each is."""
    [either] = _conditions("optional: ((source = 'a') OR (keyword = 'b'))")
    assert (either.words, either.columns) == ("(source = a or keyword = b)", frozenset())
    [same] = _conditions("((source = 'a' AND page = 1) OR (source = 'b'))")
    assert same.columns == {"source"}
    assert [one.words for one in _conditions("((source >= 'a') AND (source < 'b'))")] == [
        "source >= a",
        "source < b",
    ]
    assert _conditions("no ( sql") == []


def test_the_files_left_out_hold_no_row_of_the_answer(small_folder: Path):
    """Every table of a view is told, with the bytes of what is left."""
    readings = lake_readings(small_folder, "SELECT * FROM runs WHERE run_date = DATE '2026-07-01'")
    assert sorted(one.table for one in readings) == ["pages", "shards"]
    for one in readings:
        total = bytes_text(sum(_sizes(small_folder, one.table)))
        assert one.size.endswith(f" of {total}")
        assert one.where == ("run_date = 2026-07-01",)


def test_a_condition_that_stops_at_one_reading_is_seen(small_folder: Path):
    """A LIKE reaches the pages' own reading, and not that of their results: both are told."""
    told = sentences(lake_readings(small_folder, "SELECT * FROM latest_ranks WHERE source LIKE 'be%'"))
    assert [line.split(":")[0] for line in told if line.startswith("reads pages")] == [
        "reads pages, all of it",
        "reads pages where source >= be and source < bf",
    ]
    assert told[1] == "  no condition reaches its partitions: one on run_date or source reads less"


def test_a_local_explanation_reads_no_file(tmp_path: Path):
    """The snapshots know: the data may be gone."""
    folder = lakes.small(tmp_path / "lake")
    for path in folder.rglob("data/**/*.parquet"):
        path.unlink()
    assert _files(folder, "SELECT * FROM pages")[0][2] == "4 of 4 files"


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT * FROM nope", "no table 'nope' here"),
        ("SELECT nope FROM pages", "nope"),
        ("SELECT * FROM read_text('/etc/passwd')", "no function is read as a table"),
        ("DELETE FROM pages", "start it with SELECT"),
        ("SHOW TABLES", "start it with SELECT"),
        ("EXPLAIN SELECT 1", "start it with SELECT"),
        ("SELECT 1; SELECT 2", "one query at a time"),
        ("", "empty"),
    ],
)
def test_a_mistake_is_told_as_the_query_would_tell_it(small_folder: Path, sql: str, told: str):
    with pytest.raises(Misuse, match=told) as raised:
        lake_readings(small_folder, sql)
    assert "\n" not in str(raised.value)


def test_no_lake_is_told(tmp_path: Path):
    with pytest.raises(Misuse, match="run `serpline run FILE` first"):
        lake_readings(tmp_path / "nowhere", "SELECT * FROM pages")


def test_functions_of_athena_and_an_empty_lake_are_explained_too(tmp_path: Path):
    folder = lakes.write(tmp_path / "lake", [])
    sql = "SELECT url_extract_host(url) FROM pages WHERE source = 'alpha'"
    assert _files(folder, sql) == [("pages", ("source = alpha",), "no files yet")]


def _bound(value: str | None, bound: str) -> dict[str, Any]:
    return {"bound": bound} if value is None else {"value": value, "bound": bound}


def _range(low: str | None, low_bound: str, high: str | None, high_bound: str) -> dict[str, Any]:
    return {"low": _bound(low, low_bound), "high": _bound(high, high_bound)}


def _point(value: str) -> dict[str, Any]:
    return _range(value, "EXACTLY", value, "EXACTLY")


def _column(name: str, *ranges: dict[str, Any], nulls: bool = False) -> dict[str, Any]:
    return {"columnName": name, "type": "x", "domain": {"nullsAllowed": nulls, "ranges": list(ranges)}}


def _plan(*constraints: dict[str, Any], rows: Any = "NaN", size: Any = "NaN", new: bool = True) -> str:
    named = {"catalog": "awsdatacatalog", "schemaTable": {"schema": "team_a", "table": "pages"}}
    held = {"columnConstraints": list(constraints)}
    estimate = {"outputRowCount": rows, "outputSizeInBytes": size}
    info = {
        "table": named,
        "estimate": estimate,
        **({"constraint": {"none": False, **held}} if new else held),
    }
    return json.dumps({"inputTableColumnInfos": [info], "estimate": estimate}, indent=2)


def _explained(plan: str, *, header: bool = False) -> list[Reading]:
    rows = [["Query Plan"]] * header + [[line] for line in plan.splitlines()]
    fake = FakeAthena([state("SUCCEEDED", kind="UTILITY")], [page([("Query Plan", "varchar")], rows)])
    readings = athena_readings(AthenaQuery(fake, "team-a", "team_a"), " SELECT 1 ;\n")
    assert fake.asked[0][1]["QueryString"] == "EXPLAIN (TYPE IO, FORMAT JSON) SELECT 1"
    return readings


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("header", [True, False])
def test_athenas_plan_is_read_in_each_of_its_forms(new: bool, header: bool):  # noqa: FBT001  # pytest's
    """A row a line, with or without a line of names; today's JSON and the one before it."""
    plan = _plan(_column("source", _point("alpha")), rows=1200.4, size="3400000.0", new=new)
    assert sentences(_explained(plan, header=header)) == [
        "reads team_a.pages where source = alpha: about 1,200 rows, 3.4 MB"
    ]


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        (_column("source", _point("a")), "source = a"),
        (_column("source", _point("a"), _point("b")), "source in (a, b)"),
        (_column("run_date", _range("2026-07-01", "EXACTLY", None, "BELOW")), "run_date >= 2026-07-01"),
        (_column("run_date", _range("1", "ABOVE", "9", "BELOW")), "run_date > 1 and < 9"),
        (_column("page", _range(None, "ABOVE", "2", "EXACTLY"), _point("7")), "page <= 2 or = 7"),
        (_column("page", _range(None, "ABOVE", None, "BELOW")), "page is not NULL"),
        (_column("page", nulls=True), "page is NULL"),
        (_column("page"), "page has no possible value"),
    ],
)
def test_a_condition_of_athenas_plan_is_put_in_words(constraint: dict[str, Any], words: str):
    [reading] = _explained(_plan(constraint))
    assert reading.where == (words,)
    assert reading.size == "Athena has no estimate of how much"


def test_a_reading_that_nothing_narrows_is_warned_of():
    assert sentences(_explained(_plan(_column("keyword", _point("k"))))) == [
        "reads team_a.pages where keyword = k: Athena has no estimate of how much",
        "  no condition reaches its partitions: one on run_date or source reads less",
    ]


def test_readings_that_are_the_same_are_one_line():
    one = Reading("shards", ("run_date = 1",), frozenset({"run_date"}), "1 of 2 files")
    assert sentences([one, one]) == ["reads shards where run_date = 1: 1 of 2 files; 2 times over"]
    assert sentences([]) == ["the query reads no table"]


@pytest.mark.parametrize("plan", ["Fragment 0 [SINGLE]", "{ no json", "[]"])
def test_a_plan_that_is_none_is_told(plan: str):
    with pytest.raises(Misuse, match="explains this statement in no form"):
        _explained(plan)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "-- a word before\nWITH a AS (SELECT 1) SELECT * FROM a",
        "(SELECT 1)",
        "SHOW TABLES",
        "DESCRIBE pages",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "EXPLAIN (TYPE IO, FORMAT JSON) SELECT 1",
        "EXPLAIN ANALYZE (FORMAT JSON) (SELECT 1)",
        "SELECT reduce(ARRAY[1], 0, (s, x) -> s + x, s -> s)",
        'SELECT * FROM "pages$snapshots"',
    ],
)
def test_what_only_reads_may_go_to_athena(sql: str):
    """Athena knows more than is translated here: only how a statement begins is looked at."""
    check_reads(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM pages",
        "/* SELECT */ DROP TABLE pages",
        "VACUUM pages",
        "OPTIMIZE pages REWRITE DATA USING BIN_PACK",
        "MERGE INTO pages USING runs ON true WHEN MATCHED THEN DELETE",
        "UNLOAD (SELECT 1) TO 's3://other/'",
        "CREATE TABLE t AS SELECT 1",
        "EXPLAIN ANALYZE DELETE FROM pages",
        "EXPLAIN ANALYZE VERBOSE INSERT INTO pages SELECT * FROM pages",
        "EXPLAIN (TYPE IO) EXPLAIN ANALYZE DELETE FROM pages",
        "EXPLAIN",
        "SELECT 'open",
        ";",
    ],
)
def test_what_writes_does_not_go_to_athena(sql: str):
    with pytest.raises(Misuse):
        check_reads(sql)
