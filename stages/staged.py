"""Staged objects: what a batch left in storage for aggregate, and for its own late deliveries.

Two gzip members, each one line of JSON: a small header, which a repeated delivery reads alone, and
the pages as columns, which aggregate turns into Arrow without touching a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from isal import igzip, isal_zlib

from stages.records import Batch, BatchId, Closing, Malformed, Page, task_id
from stages.shard import ShardRow

VERSION = 1
MAX_STAGED = 256 << 20
"""Bytes that a staged object may inflate to; batches stay far below it."""

_LEVEL = 1


class Header(msgspec.Struct, frozen=True):
    """Which batch this is, what is in the object, and the whole message of what was left undone.

    ``delay`` is how many seconds the remainder was told to wait before its first delivery.
    """

    v: int
    batch: Batch
    lane: str
    pages: int
    results: int
    remainder: Batch | None = None
    delay: float = 0.0

    @property
    def id(self) -> BatchId:
        """The identity of the batch."""
        return self.batch.id


class PageColumns(msgspec.Struct, frozen=True):
    """One list entry a page; ``count`` says how many of the results are its own."""

    task_id: list[str]
    keyword: list[str]
    page: list[int]
    status: list[str]
    reason: list[str]
    http_status: list[int]
    attempts: list[int]
    requested_at: list[int]
    fetched_at: list[int]
    latency_ms: list[int]
    bytes: list[int]
    url: list[str]
    total_results: list[int | None]
    count: list[int]


class ResultColumns(msgspec.Struct, frozen=True):
    """One list entry a result, page after page."""

    rank: list[int]
    kind: list[str]
    title: list[str]
    url: list[str]
    domain: list[str]
    snippet: list[str]


class Columns(msgspec.Struct, frozen=True):
    """The content of a staged object."""

    pages: PageColumns
    results: ResultColumns


class Staged(msgspec.Struct, frozen=True):
    """A whole staged object, read back and checked."""

    header: Header
    columns: Columns


_encoder = msgspec.json.Encoder()
_header = msgspec.json.Decoder(Header)
_columns = msgspec.json.Decoder(Columns)
_shard_row = msgspec.json.Decoder(ShardRow)
_closing = msgspec.json.Decoder(Closing)


def encode_staged(
    batch: Batch, pages: Sequence[Page], *, lane: str, remainder: Batch | None = None, delay: float = 0.0
) -> bytes:
    """The bytes of a staged object. Times become whole microseconds since the epoch."""
    results = [result for page in pages for result in page.results]
    header = Header(
        v=VERSION,
        batch=msgspec.structs.replace(batch, tasks=(), hop=0),
        lane=lane,
        pages=len(pages),
        results=len(results),
        remainder=remainder,
        delay=delay,
    )
    columns = Columns(
        PageColumns(
            task_id=[task_id(batch, page.task) for page in pages],
            keyword=[page.task.keyword for page in pages],
            page=[page.task.page for page in pages],
            status=[page.status for page in pages],
            reason=[page.reason for page in pages],
            http_status=[page.http_status for page in pages],
            attempts=[page.attempts for page in pages],
            requested_at=[round(page.requested_at * 1e6) for page in pages],
            fetched_at=[round(page.fetched_at * 1e6) for page in pages],
            latency_ms=[page.latency_ms for page in pages],
            bytes=[page.bytes for page in pages],
            url=[page.url for page in pages],
            total_results=[page.total_results for page in pages],
            count=[len(page.results) for page in pages],
        ),
        ResultColumns(
            rank=[result.rank for result in results],
            kind=[result.kind for result in results],
            title=[result.title for result in results],
            url=[result.url for result in results],
            domain=[result.domain for result in results],
            snippet=[result.snippet for result in results],
        ),
    )
    # A time in the second member's header would make equal objects differ.
    first = igzip.compress(_encoder.encode(header) + b"\n", _LEVEL, mtime=0)
    second = igzip.compress(_encoder.encode(columns) + b"\n", _LEVEL, mtime=0)
    return bytes(first + second)


def read_header(raw: bytes) -> Header:
    """The header alone. Raises ``Malformed`` where it cannot be read or is of another version."""
    header, _rest = _member(raw)
    return _checked_header(header)


def decode_staged(raw: bytes) -> Staged:
    """The whole object. Raises ``Malformed`` where it is cut, damaged or contradicts itself."""
    first, rest = _member(raw)
    header = _checked_header(first)
    second, _nothing = _member(rest)
    try:
        columns = _columns.decode(second)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"the staged columns break their schema: {error}") from error
    _check_lengths(header, columns)
    return Staged(header, columns)


def encode_shard_row(row: ShardRow) -> bytes:
    """The bytes of a staged shard row."""
    return _encoder.encode(row)


def decode_shard_row(raw: bytes) -> ShardRow:
    """A staged shard row. Raises ``Malformed``."""
    try:
        return _shard_row.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"the staged shard row breaks its schema: {error}") from error


def encode_closing(row: Closing) -> bytes:
    """The bytes of a staged closing or reopening."""
    return _encoder.encode(row)


def decode_closing(raw: bytes) -> Closing:
    """A staged closing or reopening. Raises ``Malformed``."""
    try:
        return _closing.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"the staged closing breaks its schema: {error}") from error


def _member(raw: bytes) -> tuple[bytes, bytes]:
    """The content of the first gzip member and the bytes after it; gzip's own checksum is verified."""
    inflater = isal_zlib.decompressobj(wbits=31)
    try:
        content: bytes = inflater.decompress(raw, MAX_STAGED)
    except isal_zlib.IsalError as error:  # type: ignore[misc]  # its stub does not say it is an exception
        raise Malformed("the staged object is damaged or not gzip") from error
    if not inflater.eof:
        raise Malformed("the staged object is cut short or too large")
    return content, inflater.unused_data


def _checked_header(raw: bytes) -> Header:
    try:
        header = _header.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"the staged header breaks its schema: {error}") from error
    if header.v != VERSION:
        raise Malformed(
            f"the staged object has version {header.v}; this code reads {VERSION}: deploy one version"
        )
    return header


def _check_lengths(header: Header, columns: Columns) -> None:
    for table, rows in ((columns.pages, header.pages), (columns.results, header.results)):
        for name in table.__struct_fields__:
            if len(getattr(table, name)) != rows:
                raise Malformed(
                    f"the staged column {name} has {len(getattr(table, name))} entries, not {rows}"
                )
    if sum(columns.pages.count) != header.results or min(columns.pages.count, default=0) < 0:
        raise Malformed("the staged pages do not add up to the staged results")
