"""Compaction's arithmetic: which files belong together, and that a merge keeps every row, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.compact import FileFacts, fitted, is_sorted, merged, plan, spooled
from stages.tables import PAGES, RESULT

TARGET = 1_000
SORT = ("keyword", "page")
FILES = st.lists(
    st.builds(
        FileFacts,
        path=st.uuids().map(str),
        size=st.integers(1, 1_500),
        rows=st.integers(0, 9),
        cut=st.sampled_from([False, False, False, True]),
    ),
    max_size=30,
    unique_by=lambda file: file.path,
)
KEYS = st.tuples(
    st.none() | st.sampled_from(["", "a", "b", "é", "z", "漢", "😀"]), st.none() | st.integers(1, 3)
)


class ListSpool:
    """A run that stays in memory."""

    def __init__(self) -> None:
        self.rows: pa.Table | None = None

    def write(self, rows: pa.Table) -> None:
        self.rows = rows

    def read(self) -> Iterator[pa.RecordBatch]:
        assert self.rows is not None
        yield from self.rows.to_batches(max_chunksize=3)


def table(keys: list[tuple[Any, Any]], first: int = 0) -> pa.Table:
    """Rows with these keys, each told from the others by its number."""
    numbers = [first + at for at in range(len(keys))]
    results = [[{"rank": n}] * (n % 3) for n in numbers]
    return pa.table(
        {
            "keyword": pa.array([key[0] for key in keys], pa.string()),
            "page": pa.array([key[1] for key in keys], pa.int32()),
            "number": numbers,
            "results": pa.array(results, pa.list_(pa.struct({"rank": pa.int32()}))),
        }
    )


def order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """As Arrow and Iceberg sort: text by its UTF-8 bytes, nulls last."""
    return tuple((value is None, value.encode() if isinstance(value, str) else value or 0) for value in key)


@given(FILES, st.randoms())
def test_a_plan_names_each_file_once_and_does_not_depend_on_their_order(files: list[FileFacts], chance: Any):
    """Groups are disjoint, within the target, deterministic; a whole large file is in none of them."""
    groups = plan(files, TARGET)
    named = Counter(file.path for group in groups for file in group)
    assert set(named.values()) <= {1}
    for group in groups:
        assert len(group) > 1 or group[0].cut
        assert sum(file.size for file in group) <= TARGET or len(group) == 1
        assert all(file.cut or file.size < TARGET * 3 // 4 for file in group)
    assert {file.path for file in files if file.cut} <= set(named)
    shuffled = files[:]
    chance.shuffle(shuffled)
    assert plan(shuffled, TARGET) == groups


@given(FILES)
def test_plans_come_to_an_end(files: list[FileFacts]):
    """When every group has become one file, again and again, few files are left and nothing to do."""
    files = [msgspec.structs.replace(file, cut=False) for file in files]
    for round_ in range(12):
        groups = plan(files, TARGET)
        if not groups:
            break
        gone = {file.path for group in groups for file in group}
        new = [
            FileFacts(f"{round_}-{at}", sum(file.size for file in group), 1)
            for at, group in enumerate(groups)
        ]
        files = [file for file in files if file.path not in gone] + new
    assert not plan(files, TARGET)
    small = sorted(file.size for file in files if file.size < TARGET * 3 // 4)
    # What stays apart grows by halves at least, or two do not fit one file.
    assert len(small) <= 12


def test_a_byte_is_rewritten_a_logarithm_of_times():
    """A thousand files, one after the other with a compaction after each: no file a hundred times."""
    files: list[FileFacts] = []
    rewritten = 0
    for number in range(1_000):
        files.append(FileFacts(f"{number:04}", 1, 1))
        for at, group in enumerate(plan(files, 10_000)):
            rewritten += sum(file.size for file in group)
            files = [file for file in files if file not in group]
            files.append(FileFacts(f"{number:04}-{at}", sum(file.size for file in group), 1))
    assert rewritten < 1_000 * 20
    assert len(files) < 20


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [([5, 5], [[5, 5]]), ([5], []), ([100, 10], []), ([100, 60], [[60, 100]]), ([900, 5, 5], [[5, 5]])],
)
def test_small_files_join_and_a_large_one_is_not_rewritten_for_a_crumb(
    sizes: list[int], groups: list[list[int]]
):
    files = [FileFacts(str(at), size, 1) for at, size in enumerate(sizes)]
    assert [[file.size for file in group] for group in plan(files, TARGET)] == groups


@given(st.lists(st.lists(KEYS, max_size=20), max_size=5), st.integers(1, 7), st.sampled_from([1, 400, 10**6]))
@settings(deadline=None)
def test_a_merge_keeps_every_row_and_gives_them_in_order(
    files: list[list[tuple[Any, Any]]], rows_a_group: int, bytes_a_run: int
):
    """Rows in any order, in runs of any length: the same rows, sorted, in full groups but the last."""
    first, tables = 0, []
    for keys in files:
        tables.append(table(keys, first))
        first += len(keys)
    batches = [batch for one in tables for batch in one.to_batches(max_chunksize=4)]
    groups = list(merged(spooled(batches, SORT, ListSpool, bytes_a_run), SORT, rows_a_group))
    assert all(group.num_rows == rows_a_group for group in groups[:-1])
    rows = [row for group in groups for row in group.to_pylist()]
    keys = [(row["keyword"], row["page"]) for row in rows]
    assert keys == sorted(keys, key=order)
    before = [row for one in tables for row in one.to_pylist()]
    assert sorted(rows, key=lambda row: row["number"]) == before


@given(st.lists(KEYS, max_size=12), st.integers(1, 5))
@settings(deadline=None)
def test_sortedness_is_seen_by_reading(keys: list[tuple[Any, Any]], rows_at_once: int):
    """Within batches and across them; equal neighbours are in order."""
    batches = table(keys).to_batches(max_chunksize=rows_at_once)
    assert is_sorted(batches, SORT) == (keys == sorted(keys, key=order))
    ordered = table(sorted(keys, key=order)).to_batches(max_chunksize=rows_at_once)
    assert is_sorted(ordered, SORT)


def test_runs_are_read_a_little_at_a_time():
    """A merge has seen no more of a run than it needs: that is what bounds its memory."""
    seen = [0, 0]

    def run(at: int) -> Iterator[pa.RecordBatch]:
        for number in range(100):
            seen[at] += 1
            yield table([(f"{number:03}", at)]).to_batches()[0]

    groups = merged((run(at) for at in (0, 1)), SORT, 10)
    next(groups)
    assert max(seen) <= 7


def test_an_older_file_fits_the_tables_columns():
    """Columns are found by their number, not name or place; what a file lacks is NULL, inside results too."""

    def numbered(name: str, kind: pa.DataType, number: int) -> pa.Field[Any]:
        return pa.field(name, kind, metadata={"PARQUET:field_id": str(number)})

    result = pa.struct([numbered("link", pa.string(), 29), numbered("rank", pa.int64(), 26)])
    element = numbered("element", result, 25)
    old = pa.schema(
        [
            numbered("results", pa.list_(element), 22),
            numbered("query", pa.string(), 10),
            numbered("x", pa.int8(), 99),
        ]
    )
    rows = [
        {"results": [{"link": "a", "rank": 1}, None], "query": "k", "x": 1},
        {"results": None, "query": None, "x": 2},
        {"results": [], "query": "l", "x": 3},
        {"results": [{"link": None, "rank": 2}], "query": "m", "x": 4},
    ]
    batch = pa.RecordBatch.from_pylist(rows, old)
    whole = fitted(batch, PAGES.schema)
    assert whole.schema.equals(PAGES.schema, check_metadata=True)
    nothing = dict.fromkeys(field.name for field in RESULT)
    wanted = [[{**nothing, "url": "a", "rank": 1}, None], None, [], [{**nothing, "rank": 2}]]
    assert whole["results"].to_pylist() == wanted
    assert whole["keyword"].to_pylist() == ["k", None, "l", "m"]
    assert whole["status"].to_pylist() == [None] * 4
    # A slice keeps its own place.
    assert fitted(batch.slice(2), PAGES.schema)["results"].to_pylist() == wanted[2:]
