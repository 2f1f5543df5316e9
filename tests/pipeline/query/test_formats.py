"""Answers as CSV, JSON, Parquet and on the terminal: what was in the table comes out whole."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq
import pytest

from pipeline.errors import Misuse
from pipeline.query import Answer, Lake, write_csv, write_json, write_parquet, write_table
from pipeline.query.formats import WRITERS
from tests.pipeline.query import lakes

ODD = (
    "VALUES ('a \"quoted\", word', 1, CAST(NULL AS varchar)), ('two\nlines', NULL, ''), "
    "('鞋 „ß“ 👟', 3, '  '), ('=1+1', 4, 'c\r\nd')"
)
TYPES = (
    "SELECT DATE '2026-07-01' AS day, TIMESTAMP '2026-07-01 10:00:00.5' AS moment, true AS yes, "
    "1e0 / 3 AS third, CAST(1.5 AS decimal(5, 2)) AS money, sum(x) AS total, ARRAY[1, NULL] AS list, "
    "map(ARRAY['a'], ARRAY[1]) AS pairs, "
    "CAST(ROW(1, 'b') AS ROW(n integer, s varchar)) AS entry, NULL AS nothing, INTERVAL '3' DAY AS span "
    "FROM (VALUES 1, 2) AS t (x)"
)


def _written(write: Callable[[Answer, BinaryIO], int], answer: Answer) -> tuple[int, bytes]:
    out = io.BytesIO()
    return write(answer, out), out.getvalue()


def _shown(answer: Answer, **how: Any) -> str:
    out = io.StringIO()
    write_table(answer, out, **how)
    return out.getvalue()


def test_csv_is_rfc_4180(lake: Lake) -> None:
    """Lines end in CRLF; commas, quotes and line ends are quoted; NULL is empty, empty text is quoted."""
    count, raw = _written(write_csv, lake.ask(f"SELECT * FROM ({ODD}) AS t (word, number, note)"))  # noqa: S608  # ours
    assert count == 4
    assert raw.decode() == (
        "word,number,note\r\n"
        '"a ""quoted"", word",1,\r\n'
        '"two\nlines",,""\r\n'
        "鞋 „ß“ 👟,3,  \r\n"
        '=1+1,4,"c\r\nd"\r\n'
    )
    read = list(csv.reader(io.StringIO(raw.decode(), newline="")))
    assert read[2] == ["two\nlines", "", ""]


def test_csv_of_other_types(lake: Lake) -> None:
    _, raw = _written(write_csv, lake.ask(TYPES))
    row = next(csv.DictReader(io.StringIO(raw.decode(), newline="")))
    assert row["day"] == "2026-07-01"
    assert row["moment"].startswith("2026-07-01 10:00:00.5")
    assert (row["yes"], row["money"], row["total"], row["nothing"]) == ("true", "1.50", "3", "")
    assert float(row["third"]) == 1 / 3
    assert json.loads(row["list"]) == [1, None]
    assert json.loads(row["pairs"]) == {"a": 1}
    assert json.loads(row["entry"]) == {"n": 1, "s": "b"}


def test_json_is_an_array_of_objects(lake: Lake) -> None:
    """Numbers stay numbers, times are ISO 8601, lists and rows stay nested."""
    count, raw = _written(write_json, lake.ask(TYPES))
    row = json.loads(raw)[0]
    assert count == 1
    assert (row["day"], row["moment"]) == ("2026-07-01", "2026-07-01T10:00:00.500000")
    assert (row["yes"], row["third"], row["money"], row["total"], row["nothing"]) == (
        True,
        1 / 3,
        1.5,
        3,
        None,
    )
    assert (row["list"], row["pairs"], row["entry"]) == ([1, None], {"a": 1}, {"n": 1, "s": "b"})


def test_json_of_pages_keeps_their_results(lake: Lake) -> None:
    _, raw = _written(write_json, lake.ask("SELECT keyword, results FROM pages WHERE source = 'beta'"))
    (row,) = json.loads(raw)
    assert row["results"][0]["domain"] == "z.example"


def test_json_keeps_odd_text_and_has_no_nan(lake: Lake) -> None:
    sql = f"SELECT word, note, nan() AS bad FROM ({ODD}) AS t (word, number, note)"  # noqa: S608  # ours
    _, raw = _written(write_json, lake.ask(sql))
    rows = json.loads(raw, parse_constant=pytest.fail)
    assert [row["word"] for row in rows] == ['a "quoted", word', "two\nlines", "鞋 „ß“ 👟", "=1+1"]
    assert [row["note"] for row in rows] == [None, "", "  ", "c\r\nd"]
    assert {row["bad"] for row in rows} == {None}


def test_parquet_keeps_types_and_values(lake: Lake, tmp_path: Path) -> None:
    """A round trip: the types of the tables, nested results, unicode."""
    path = tmp_path / "pages.parquet"
    with path.open("wb") as out:
        count = write_parquet(lake.ask("SELECT * FROM pages ORDER BY task_id"), out)
    table = pq.read_table(path)
    expected = [row for rows in lake.ask("SELECT * FROM pages ORDER BY task_id").chunks() for row in rows]
    assert count == table.num_rows == len(expected) == 14
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
    assert str(table.schema.field("run_date").type) == "date32[day]"
    assert str(table.schema.field("fetched_at").type) == "timestamp[us]"


def test_parquet_of_other_types_can_be_read(lake: Lake) -> None:
    _, raw = _written(write_parquet, lake.ask(TYPES))
    (row,) = pq.read_table(io.BytesIO(raw)).to_pylist()
    assert (row["total"], row["nothing"], row["pairs"]) == (3, None, [("a", 1)])


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_an_answer_without_rows_is_a_whole_file(lake: Lake, name: str) -> None:
    """The header or schema is there, so that what reads it knows the columns."""
    count, raw = _written(WRITERS[name], lake.ask("SELECT keyword, page FROM pages WHERE false"))
    assert count == 0
    if name == "csv":
        assert raw == b"keyword,page\r\n"
    elif name == "json":
        assert json.loads(raw) == []
    else:
        assert pq.read_table(io.BytesIO(raw)).schema.names == ["keyword", "page"]


def test_answers_of_many_chunks_are_whole(lake: Lake) -> None:
    sql = "SELECT x FROM UNNEST(sequence(1, 25000)) AS t (x) ORDER BY x"
    count, raw = _written(write_json, lake.ask(sql))
    assert count == 25_000
    assert [row["x"] for row in json.loads(raw)] == list(range(1, 25_001))
    assert _written(write_csv, lake.ask(sql))[1].count(b"\r\n") == 25_001
    parquet = pq.ParquetFile(io.BytesIO(_written(write_parquet, lake.ask(sql))[1]))
    assert (parquet.metadata.num_rows, parquet.num_row_groups) == (25_000, 1)


@pytest.mark.parametrize("name", ["json", "parquet"])
def test_columns_of_one_name_are_refused_where_names_are_keys(lake: Lake, name: str) -> None:
    with pytest.raises(Misuse, match="two columns are called x"):
        WRITERS[name](lake.ask("SELECT 1 AS x, 2 AS x"), io.BytesIO())
    assert _written(write_csv, lake.ask("SELECT 1 AS x, 2 AS x"))[1] == b"x,x\r\n1,2\r\n"


def test_a_table_shows_so_many_rows_and_says_that_there_are_more(lake: Lake) -> None:
    sql = "SELECT x FROM UNNEST(sequence(1, 100)) AS t (x) ORDER BY x"
    shown = _shown(lake.ask(sql), most=3, width=60)
    assert [line.strip() for line in shown.splitlines() if line.strip().isdigit()] == ["1", "2", "3"]
    assert "the first 3 rows; there are more" in " ".join(shown.split())
    assert "there are more" not in _shown(lake.ask(sql), most=100, width=60)


def test_a_table_keeps_to_its_width(lake: Lake) -> None:
    """Columns are cut with an ellipsis; where there are too many, each row becomes a record."""
    narrow = _shown(lake.ask("SELECT keyword, url, title, snippet FROM results"), width=40)
    assert max(map(len, narrow.splitlines())) <= 40
    assert "…" in narrow
    records = _shown(lake.ask("SELECT * FROM runs ORDER BY run_id"), width=60)
    assert max(map(len, records.splitlines())) <= 60
    assert "row 4" in records
    assert "not UTF-8" in records


def test_a_table_shows_null_and_counts_rows(lake: Lake) -> None:
    shown = _shown(lake.ask("SELECT NULL AS nothing, '' AS empty, 'NULL [red]' AS text"), width=60)
    assert "NULL" in shown
    assert "NULL [red]" in shown
    assert shown.rstrip().endswith("1 row")
    assert _shown(lake.ask("SELECT 1 AS x WHERE false"), width=60).rstrip().endswith("0 rows")


def test_text_from_the_web_cannot_command_the_terminal(tmp_path: Path) -> None:
    """A title with escape sequences, a carriage return or a turn of direction is shown, not obeyed."""
    title = "\x1b[2J\x1b]0;owned\x07 safe\r\u202etxet\u200b \x9b31m 👩‍👟"
    page = lakes.page("k", lakes.organic(1, "a.example", title=title), at="2026-07-01T10:00:00")
    with Lake(lakes.write(tmp_path / "lake", [lakes.staged("run-a", 1, page)])) as lake:
        shown = _shown(lake.ask("SELECT title FROM results"), width=80)
    assert "safe" in shown
    assert "👩‍👟" in shown
    assert not {"\x1b", "\x07", "\r", "\x9b", "\u202e"} & set(shown)


def test_short_values_stay_whole_beside_long_ones(lake: Lake):
    """On a narrow terminal the longest columns give way first; a rank is never cut for a URL's sake."""
    sql = "SELECT 12345 AS rank, 'short' AS kind, 'https://example.org/a/very/long/address/indeed' AS url"
    shown = _shown(lake.ask(sql), width=40)
    assert "rank" in shown
    assert "12345" in shown
    assert "short" in shown
    assert "…" in shown
    assert max(map(len, shown.splitlines())) <= 40
