"""A staged object says the same to everybody who reads it, or that it is damaged."""

import gzip
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.records import Batch, Malformed, Page, Result, Task, task_id
from stages.shard import ShardRow
from stages.staged import (
    decode_shard_row,
    decode_staged,
    encode_shard_row,
    encode_staged,
    read_header,
)
from tests.stages.kit import BATCH
from tests.stages.makers import PAGES

LEFT = msgspec.structs.replace(BATCH, cut=1, tasks=(Task("日本語", 2, 1, 0),))
PAGE = Page(
    Task("python"),
    1,
    "ok",
    "",
    200,
    1.5,
    2.25,
    7,
    9,
    "http://a/",
    None,
    (Result(1, "organic", "T", "u", "d", "s"),),
)
RAW = encode_staged(BATCH, [PAGE], lane="a", remainder=LEFT, delay=3.5)


@given(st.lists(PAGES, max_size=5), st.sampled_from([None, LEFT]))
def test_what_is_staged_is_what_is_read(pages: list[Page], left: Batch | None):
    """Every value of every page and result, the remainder whole, times to the microsecond."""
    staged = decode_staged(encode_staged(BATCH, pages, lane="b", remainder=left, delay=2.0))
    header, columns = staged.header, staged.columns
    assert (header.id, header.lane, header.remainder, header.delay) == (BATCH.id, "b", left, 2.0)
    assert columns.pages.task_id == [task_id(BATCH, page.task) for page in pages]
    for name in (
        "status",
        "reason",
        "http_status",
        "attempts",
        "latency_ms",
        "bytes",
        "url",
        "total_results",
    ):
        assert getattr(columns.pages, name) == [getattr(page, name) for page in pages]
    assert [(k, n) for k, n in zip(columns.pages.keyword, columns.pages.page, strict=True)] == [
        (page.task.keyword, page.task.page) for page in pages
    ]
    assert columns.pages.fetched_at == [round(page.fetched_at * 1e6) for page in pages]
    results = [result for page in pages for result in page.results]
    for name in Result.__struct_fields__:
        assert getattr(columns.results, name) == [getattr(result, name) for result in results]
    assert columns.pages.count == [len(page.results) for page in pages]


@given(st.lists(PAGES, max_size=3))
def test_the_same_pages_give_the_same_bytes(pages: list[Page]):
    """So a repeated write is no change."""
    assert encode_staged(BATCH, pages, lane="a") == encode_staged(BATCH, pages, lane="a")


def test_the_header_is_read_alone():
    """A repeated delivery needs no more, and reads no more than the first bytes."""
    header = read_header(RAW)
    assert (header.pages, header.results, header.remainder, header.batch.tasks) == (1, 1, LEFT, ())
    end = next(at for at in range(1, len(RAW)) if RAW[at:].startswith(b"\x1f\x8b"))
    assert read_header(RAW[:end]) == header


def test_every_flipped_bit_is_found_or_means_nothing():
    """The checksums find it, or it stood in a header byte that changes no content."""
    good, found = decode_staged(RAW), 0
    for at in range(len(RAW) * 8):
        raw = bytearray(RAW)
        raw[at // 8] ^= 1 << at % 8
        try:
            assert decode_staged(bytes(raw)) == good
        except Malformed:
            found += 1
    assert found > len(RAW) * 7


def test_every_cut_is_found():
    for end in range(len(RAW)):
        with pytest.raises(Malformed):
            decode_staged(RAW[:end])


@given(st.binary(max_size=200))
def test_other_bytes_are_malformed(noise: bytes):
    for raw in (noise, gzip.compress(noise), gzip.compress(noise) * 2):
        with pytest.raises(Malformed):
            decode_staged(raw)
        with pytest.raises(Malformed):
            read_header(raw)


def rewritten(**changes: object) -> bytes:
    """The staged object with other values in its header (``v=2``) or columns (``pages_url=[]``)."""
    lines = gzip.decompress(RAW).splitlines()
    header, columns = json.loads(lines[0]), json.loads(lines[1])
    for name, value in changes.items():
        table, _, column = name.partition("_")
        if column:
            columns[table][column] = value
        else:
            header[name] = value
    return b"".join(gzip.compress(json.dumps(part).encode()) for part in (header, columns))


def test_another_version_is_refused_with_a_sentence():
    """Aggregate of last week must not guess at what fetch of this week wrote."""
    for read in (read_header, decode_staged):
        with pytest.raises(Malformed, match="has version 2; this code reads 1: deploy one version"):
            read(rewritten(v=2))


@pytest.mark.parametrize(
    "changes",
    [
        {"pages": 2},
        {"results": 0},
        {"pages_url": []},
        {"pages_url": ["a", "b"]},
        {"pages_count": [0]},
        {"pages_count": [-1]},
        {"results_title": []},
        {"results_rank": ["first"]},
        {"pages_keyword": None},
    ],
)
def test_columns_that_do_not_add_up_are_malformed(changes: dict[str, object]):
    assert decode_staged(rewritten()) == decode_staged(RAW)
    with pytest.raises(Malformed):
        decode_staged(rewritten(**changes))


@given(st.builds(ShardRow))
def test_a_shard_row_is_read_as_it_was_written(row: ShardRow):
    assert decode_shard_row(encode_shard_row(row)) == row


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"run_id": 1}', b"\xff"])
def test_what_is_no_shard_row_is_malformed(raw: bytes):
    with pytest.raises(Malformed):
        decode_shard_row(raw)
