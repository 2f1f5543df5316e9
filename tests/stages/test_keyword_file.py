"""Tables, JSON lines and Parquet: each row is read or rejected by itself, with its number and reason."""

import io
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.keyword_file import count_lines, file_format
from stages.records import Malformed
from tests.stages.kit import sharded

CELL = st.text(st.sampled_from('ab ,;\n"é日'), min_size=1, max_size=8).filter(str.strip)


def quoted(cell: str) -> str:
    """A CSV cell, quoted as RFC 4180 says."""
    return '"' + cell.replace('"', '""') + '"'


def parquet(**columns: object) -> bytes:
    """A Parquet file."""
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("a.txt", ("txt", "")),
        ("A.CSV.GZ", ("csv", "gz")),
        ("a.b.jsonl.zst", ("jsonl", "zst")),
        ("a.parquet", ("parquet", "")),
    ],
)
def test_the_name_says_the_format(name: str, known: tuple[str, str]):
    assert file_format(name) == known


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.gz", "a.parquet.gz", "a.txt.bz2", ""])
def test_another_name_is_refused_with_the_names_that_work(name: str):
    with pytest.raises(Malformed, match=r"\.txt, \.csv, \.tsv, \.jsonl, \.parquet"):
        sharded(name, b"python\n")


@given(st.lists(st.tuples(CELL, CELL), max_size=8))
def test_whatever_stands_in_quotes_is_one_cell(rows: list[tuple[str, str]]):
    """Commas, quotes and line ends inside quotes belong to the keyword."""
    data = "\n".join(["keyword,note", *(f"{quoted(a)},{quoted(b)}" for a, b in rows)]).encode()
    found = sharded("k.csv", data)
    assert not found.rejects
    assert set(found.keywords) == {" ".join(a.split()) for a, _ in rows}
    assert found.row.lines == len(rows)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("k.csv", "keyword,locale\nsort a list,de-DE\n"),
        ("k.csv", "locale;keyword\r\nde-DE;sort a list\r\n"),
        ("k.csv", '\ufeff"Keyword" , LOCALE\n"sort a list",de_de\n'),
        ("k.tsv", "keyword\tlocale\nsort a list\tde-DE\n"),
        ("k.csv", "volume,keyword,locale\n12,sort a list,de-DE\n"),
        ("k.csv", '\nkeyword,locale\n\n"sort\na list",de-DE\n'),
        ("k.jsonl", '{"keyword": "sort a list", "locale": "de-DE", "volume": 12}\n'),
    ],
)
def test_the_same_row_in_every_dress(name: str, data: str):
    """Commas, semicolons, tabs, JSON; any order and case of columns; columns of no meaning here."""
    assert sharded(name, data.encode()).tasks == [("engine", "de-DE", "desktop", "sort a list", 1)]


@pytest.mark.parametrize("name", ["k.csv", "k.tsv", "k.jsonl"])
def test_an_empty_table_is_a_run_with_nothing_to_do(name: str):
    assert sharded(name, b"").row.lines == 0


def test_a_stray_quote_in_the_middle_costs_its_own_line_only():
    """An unbalanced quote does not swallow the rest of the file as one long cell."""
    lines = ["keyword,note", *(f"k{n},x" for n in range(100)), '"stray,x', *(f"m{n},x" for n in range(100))]
    found = sharded("k.csv", "\n".join(lines).encode())
    assert found.row.kept == 200
    assert found.reasons == {102: "unbalanced_quotes"}


def test_a_stray_quote_before_a_good_one_and_at_the_end_costs_its_own_line_only():
    data = b'keyword,note\n"stray,x\nk1,x\n"good, one",x\nk2,x\n"last,x'
    found = sharded("k.csv", data)
    assert found.keywords == ["k1", "good, one", "k2"]
    assert found.reasons == {2: "unbalanced_quotes", 6: "unbalanced_quotes"}


@pytest.mark.parametrize("line", ['5" disk,x', 'say "hi",x', '"a ""quoted"" word",x'])
def test_a_quote_inside_a_cell_is_a_letter(line: str):
    assert sharded("k.csv", f"keyword,note\n{line}\n".encode()).row.kept == 1


@pytest.mark.parametrize("line", ["a", "a,b,c", "a,b,c,d"])
def test_a_row_of_another_width_is_rejected(line: str):
    found = sharded("k.csv", f"keyword,note\nk1,x\n{line}\nk2,x\n".encode())
    assert found.reasons == {3: "wrong_number_of_columns"}
    assert found.keywords == ["k1", "k2"]


def test_a_thousand_columns_are_read_for_the_few_that_mean_something():
    header = ",".join(["keyword", *(f"c{n}" for n in range(999))])
    rows = [",".join([f"k{n}", *["x"] * 999]) for n in range(20)]
    found = sharded("k.csv", "\n".join([header, *rows]).encode())
    assert found.row.kept == 20
    assert not found.rejects


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("k.csv", b"query,volume\npython,12\n"),
        ("k.csv", b"python\nsort a list\n"),
        ("k.tsv", b"keyword,locale\npython,en-US\n"),
        ("k.parquet", parquet(query=["python"])),
    ],
)
def test_a_table_without_a_keyword_column_is_refused_with_its_columns(name: str, data: bytes):
    """Wrong column names: the reason shows what was found."""
    with pytest.raises(Malformed, match="no column is named keyword; the columns are: "):
        sharded(name, data)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("source", "nowhere", "unknown_source"),
        ("locale", "not a locale", "not_a_locale"),
        ("locale", "1234", "not_a_locale"),
        ("device", "toaster", "unknown_device"),
        ("pages", "0", "too_many_pages"),
        ("pages", "-1", "too_many_pages"),
        ("pages", "6", "too_many_pages"),
        ("pages", "9" * 5_000, "pages_not_a_number"),
        ("pages", "two", "pages_not_a_number"),
        ("pages", "1.5", "pages_not_a_number"),
        ("page", "0", "too_many_pages"),
        ("page", "6", "too_many_pages"),
        ("page", "last", "pages_not_a_number"),
        ("keyword", " ", "empty"),
        ("keyword", "k" * 3_000, "keyword_too_long"),
    ],
)
def test_a_row_that_cannot_be_asked_is_rejected_alone(column: str, value: str, reason: str):
    """Unknown source, locale or device, bad pages, a bad keyword: in CSV and JSON alike."""
    row = {"keyword": "bad", "source": "", "locale": "", "device": "", "pages": "", column: value}
    csv = f"{','.join(row)}\n{','.join(row.values())}\ngood{',' * (len(row) - 1)}\n"
    said = {name: cell for name, cell in row.items() if cell}
    for name, data, line in (("k.csv", csv, 2), ("k.jsonl", json.dumps(said) + '\n{"keyword":"good"}', 1)):
        found = sharded(name, data.encode())
        assert found.reasons == {line: reason}
        assert found.keywords == ["good"]


def test_a_row_that_says_both_page_and_pages_is_rejected():
    """Which of the two was meant is not guessed; an empty cell says nothing."""
    found = sharded("k.csv", b"keyword,pages,page\na,2,2\nb,,2\nc,2,\n")
    assert found.reasons == {2: "page_and_pages"}
    assert [(keyword, page) for *_, keyword, page in found.tasks] == [("b", 2), ("c", 1), ("c", 2)]


def test_a_page_is_read_from_every_format():
    rows = [("k.jsonl", b'{"keyword":"a","page":3}'), ("k.tsv", b"page\tkeyword\n3\ta\n")]
    for name, data in [*rows, ("k.parquet", parquet(keyword=["a"], page=[3]))]:
        assert sharded(name, data).tasks == [("engine", "en-US", "desktop", "a", 3)]


def test_a_locale_that_the_source_does_not_have_is_rejected():
    found = sharded("k.csv", b"keyword,source,locale\na,other,fr-FR\nb,other,de_DE\n")
    assert found.reasons == {2: "unknown_locale"}
    assert found.keywords == ["b"]


@pytest.mark.parametrize(
    "line",
    [
        '{"keyword": 5}',
        '{"keyword": null}',
        '{"source": "engine"}',
        '{"keyword": "a", "pages": [1]}',
        '{"keyword": "a", "pages": true}',
        '["a"]',
        '"a"',
        "python",
        '{"keyword": "a"',
        '{"keyword": "\\ud800"}',
        '{"x": ' + "[" * 60_000,
        '{"keyword": "a", "pages": 1e999}',
    ],
)
def test_a_json_line_that_is_no_row_is_rejected_alone(line: str):
    """Wrong types, other JSON, no JSON, half a surrogate, sixty thousand brackets."""
    found = sharded("k.jsonl", f'{{"keyword":"k1"}}\n{line}\n\n{{"keyword":"k2"}}'.encode())
    assert found.keywords == ["k1", "k2"]
    assert found.reasons == {2: "not_a_json_row"}


def test_parquet_rows_are_read_and_null_means_left_out():
    data = parquet(keyword=["a", "b", None], locale=[None, "de-DE", None], pages=[2, None, 1], x=[1, 2, 3])
    found = sharded("k.parquet", data)
    assert [task[1:] for task in found.tasks if task[3] == "a"] == [
        ("en-US", "desktop", "a", 1),
        ("en-US", "desktop", "a", 2),
    ]
    assert ("engine", "de-DE", "desktop", "b", 1) in found.tasks
    assert found.reasons == {3: "not_a_row"}


def test_a_parquet_text_that_is_no_utf8_costs_its_row_only():
    offsets, text = pa.array([0, 1, 3, 4], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff\xfeb")
    assert offsets is not None
    found = sharded(
        "k.parquet", parquet(keyword=pa.Array.from_buffers(pa.string(), 3, [None, offsets, text]))
    )
    assert found.keywords == ["a", "b"]
    assert found.reasons == {2: "not_a_row"}


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1 but no more PAR1", b"keyword\npython\n"])
def test_what_is_no_parquet_file_is_refused_whole(data: bytes):
    with pytest.raises(Malformed, match="no Parquet file"):
        sharded("k.parquet", data)


def test_damage_to_a_parquet_file_is_refused_or_rejected_and_nothing_else():
    """Hundreds of flipped bits: the file is refused, or rows before the damage stand beside a reject."""
    good = parquet(keyword=[f"kw{n}" for n in range(2_000)])
    chance = random.Random(7)
    outcomes = set()
    for at in range(400):
        raw = bytearray(good)
        raw[-1 - chance.randrange(700) if at % 2 else chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        try:
            outcomes.add(sharded("k.parquet", bytes(raw)).row.rejected > 0)
        except Malformed:
            outcomes.add("refused")
    assert outcomes == {True, False, "refused"}


def test_lines_that_no_table_can_use_are_handed_on_before_they_pile_up():
    """Fifty thousand unreadable lines are fifty thousand rejects, given as they are found."""
    found = sharded("k.csv", b"keyword\n" + b"some text \xff and more text to read\n" * 50_000)
    assert found.row.rejected == 50_000


@pytest.mark.parametrize("name", ["k.txt", "k.csv", "k.jsonl", "k.parquet"])
@pytest.mark.parametrize("rows", [3, 60_000])
def test_how_many_lines_a_file_has_is_judged_well_enough(name: str, rows: int):
    """It decides the number of parts: exact for small files, about right for large ones."""
    keywords = [f"how to do number {n} in python with a list and a dict" for n in range(rows)]
    if name == "k.parquet":
        data = parquet(keyword=keywords)
    else:
        text = [json.dumps({"keyword": keyword}) for keyword in keywords] if name == "k.jsonl" else keywords
        data = "\n".join(text if name != "k.csv" else ["keyword", *text]).encode()
    lines = count_lines(io.BytesIO(data), name, len(data))
    assert lines == pytest.approx(rows, rel=0.1 if rows > 3 else 0)
