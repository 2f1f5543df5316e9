"""From staged batches to data files: every value survives, in the table's columns and order."""

import io
from datetime import UTC, date, datetime
from itertools import pairwise

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.aggregate import page_batch, shard_table, write_parquet
from stages.records import Page, Result, Task, task_id
from stages.shard import ShardRow
from stages.staged import decode_staged, encode_staged
from stages.tables import CLOSINGS, PAGES, ROWS_A_GROUP, SHARDS
from tests.stages.kit import BATCH
from tests.stages.makers import PAGES as SOME_PAGES


def batch_of(pages: list[Page], cut: int = 0) -> pa.RecordBatch:
    """Pages on their whole way through a staged object."""
    batch = msgspec.structs.replace(BATCH, cut=cut)
    return page_batch(decode_staged(encode_staged(batch, pages, lane="b")))


def page_of(keyword: str, results: int = 1) -> Page:
    """A page with results."""
    found = tuple(Result(n + 1, "organic", f"{keyword} {n}", "u", "d", "s") for n in range(results))
    return Page(Task(keyword), 1, "ok", "", 200, 1.0, 2.0, 3, 4, "u", None, found)


@given(st.lists(SOME_PAGES, max_size=6))
def test_every_page_becomes_one_row_with_all_its_values(pages: list[Page]):
    """Unicode, nulls and pages without results included; times are UTC without a zone."""
    rows = batch_of(pages, cut=2)
    assert rows.schema.equals(PAGES.schema, check_metadata=True)
    for row, page in zip(rows.to_pylist(), pages, strict=True):
        assert row == {
            "run_id": "r1",
            "task_id": task_id(BATCH, page.task),
            "part": 0,
            "batch_no": 1,
            "cut": 2,
            "run_date": date(2026, 1, 31),
            "source": "engine",
            "locale": "en-US",
            "device": "desktop",
            "keyword": page.task.keyword,
            "page": page.task.page,
            **{name: getattr(page, name) for name in ("status", "reason", "http_status", "attempts")},
            **{name: row[name] for name in ("requested_at", "fetched_at")},
            **{name: getattr(page, name) for name in ("latency_ms", "bytes", "url", "total_results")},
            "results": [msgspec.structs.asdict(result) for result in page.results],
            "raw_key": None,
            "lane": "b",
        }
        told = row["fetched_at"].replace(tzinfo=UTC).timestamp()
        assert told == pytest.approx(page.fetched_at, abs=2e-6)


@settings(max_examples=30)
@given(st.lists(st.lists(SOME_PAGES, max_size=4), min_size=1, max_size=4))
def test_a_data_file_holds_what_was_staged_sorted_by_keyword(batches: list[list[Page]]):
    table = pa.Table.from_batches([batch_of(pages, cut) for cut, pages in enumerate(batches)])
    sink = io.BytesIO()
    write_parquet(table, PAGES.schema, sink, sort=["keyword"])
    read = pq.read_table(sink)
    keywords = read["keyword"].to_pylist()
    assert keywords == sorted(keywords, key=str.encode)
    order = [("keyword", "ascending"), ("cut", "ascending"), ("task_id", "ascending"), ("url", "ascending")]
    one, two = table.sort_by(order), read.cast(table.schema).sort_by(order)
    assert sorted(map(repr, one.to_pylist())) == sorted(map(repr, two.to_pylist()))


def test_row_groups_are_sized_for_looking_up_one_keyword():
    """Groups of ``ROWS_A_GROUP`` pages whose keyword ranges do not overlap: a look-up reads one."""
    count = ROWS_A_GROUP * 2 + 7
    pages = [page_of(f"k{(n * 7_919) % count:06}") for n in range(count)]
    sink = io.BytesIO()
    metadata = write_parquet(pa.Table.from_batches([batch_of(pages)]), PAGES.schema, sink, sort=["keyword"])
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [ROWS_A_GROUP, ROWS_A_GROUP, 7]
    at = PAGES.schema.get_field_index("keyword")
    ranges = [(group.column(at).statistics.min, group.column(at).statistics.max) for group in groups]
    assert ranges == sorted(ranges)
    assert all(before[1] < after[0] for before, after in pairwise(ranges))
    assert groups[0].column(at).compression == "ZSTD"
    assert groups[0].column(at).has_column_index


def field_ids(fields: list[pa.Field]) -> dict[str, str]:
    """By dotted name: the id by which Iceberg finds a column in a file."""
    found: dict[str, str] = {}
    for field in fields:
        found[field.name] = (field.metadata or {})[b"PARQUET:field_id"].decode()
        inner = field.type
        children = (
            list(inner)
            if pa.types.is_struct(inner)
            else [inner.value_field]
            if pa.types.is_list(inner)
            else []
        )
        found |= {f"{field.name}.{name}": number for name, number in field_ids(children).items()}
    return found


@pytest.mark.parametrize("spec", [PAGES, SHARDS, CLOSINGS])
def test_files_carry_the_field_ids_of_the_table(spec: object):
    """Iceberg reads columns by id: without them every value would be null."""
    schema = spec.schema  # type: ignore[attr-defined]  # a table's description
    sink = io.BytesIO()
    write_parquet(schema.empty_table(), schema, sink)
    stored = field_ids(list(pq.read_schema(sink)))
    assert stored == field_ids(list(schema))
    assert len(set(stored.values())) == len(stored)


def test_an_empty_table_is_an_empty_file():
    sink = io.BytesIO()
    metadata = write_parquet(PAGES.schema.empty_table(), PAGES.schema, sink, sort=["keyword"])
    assert (metadata.num_rows, pq.read_table(sink).num_rows) == (0, 0)


def test_shard_rows_become_rows_of_their_table():
    row = ShardRow("r1", "2026-01-31", "日本語.txt", 1, 2, lines=10**10, kept=3, refused="x")
    table = shard_table([row])
    assert table.schema.equals(SHARDS.schema, check_metadata=True)
    expected = msgspec.structs.asdict(row) | {"run_date": date(2026, 1, 31)}
    assert table.to_pylist() == [{name: expected[name] for name in SHARDS.schema.names}]


def test_times_are_kept_to_the_microsecond():
    page = msgspec.structs.replace(page_of("a"), requested_at=1_750_000_000.123456)
    assert batch_of([page])["requested_at"][0].as_py() == datetime(2025, 6, 15, 15, 6, 40, 123456)  # noqa: DTZ001  # the table's times are UTC
