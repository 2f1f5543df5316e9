"""The formats of a keyword file: each gives rows, and rejects for what is no row."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import msgspec

from stages.records import Malformed
from stages.text_blocks import SHOWN, Block, Reject, inflate, text_blocks

FORMATS = ("txt", "csv", "tsv", "jsonl", "parquet")
COMPRESSIONS = ("gz", "zst")
COLUMNS = ("keyword", "source", "locale", "device", "pages", "page")

SAMPLED = 16
"""Pieces of a file by which its number of lines is judged."""

MAX_JOINED = 20
"""Lines that one quoted CSV record may span before its first quote is taken for a stray one."""


class Row(msgspec.Struct, frozen=True):
    """One row of a keyword file; what it leaves out (None) comes from the run's options.

    ``page`` asks for exactly that page, where ``pages`` asks for the first so many.
    """

    keyword: str
    source: str | None = None
    locale: str | None = None
    device: str | None = None
    pages: int | str | None = None
    page: int | str | None = None


class Rows(msgspec.Struct, frozen=True):
    """Some rows with their line numbers, and the rejects found among them."""

    rows: list[tuple[int, Row]]
    rejects: tuple[Reject, ...] = ()


def file_format(name: str) -> tuple[str, str]:
    """Format and compression of a keyword file, by its name.

    Raises ``Malformed`` for a name that ends in neither.
    """
    stem, _, last = name.lower().rpartition(".")
    compression = last if last in COMPRESSIONS else ""
    if compression:
        last = stem.rpartition(".")[2]
    if last not in FORMATS or (last == "parquet" and compression):
        known = ", ".join(f".{known}" for known in FORMATS)
        raise Malformed(
            f"{name!r} is no keyword file: its name must end in {known} (text also with .gz or .zst)"
        )
    return last, compression


def read_rows(stream: BinaryIO, name: str, size: int) -> Iterator[Block | Rows]:
    """Give the content of a keyword file: blocks of lines for ``.txt``, rows for the others.

    ``stream`` must be seekable for Parquet. Raises ``Malformed`` where the file as a whole is none.
    """
    kind, compression = file_format(name)
    if kind == "parquet":
        yield from _parquet(stream)
        return
    blocks = text_blocks(inflate(stream, compression, size))
    if kind == "txt":
        yield from blocks
    elif kind == "jsonl":
        yield from map(_json_rows, blocks)
    else:
        yield from _table(blocks, "\t" if kind == "tsv" else "")


def count_lines(stream: BinaryIO, name: str, size: int) -> int:
    """About how many lines a file has, judged by its beginning; exact for small and Parquet files.

    Raises ``Malformed`` where the beginning shows that it is no keyword file.
    """
    if file_format(name)[0] == "parquet":
        return int(_open_parquet(stream)[0].metadata.num_rows)
    lines = 0
    for at, piece in enumerate(read_rows(stream, name, size)):
        if isinstance(piece, Rows):
            lines += len(piece.rows) + len(piece.rejects)
        else:
            lines += len(piece.lines)
        if at >= SAMPLED:
            return lines * size // max(1, stream.tell())
    return lines


def _json_rows(block: Block) -> Rows:
    decoder = msgspec.json.Decoder(Row)
    rows: list[tuple[int, Row]] = []
    rejects = list(block.rejects)
    for number, line in enumerate(block.lines, block.first):
        if not line or line.isspace():
            continue
        try:
            rows.append((number, decoder.decode(line)))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            rejects.append(Reject(number, "not_a_json_row", line[:SHOWN]))
    return Rows(rows, tuple(rejects))


def _table(blocks: Iterable[Block], delimiter: str) -> Iterator[Rows]:
    """CSV rows. A stray quote costs its own line only, never the rest of the file."""
    header: list[str] = []
    ahead: deque[tuple[int, str]] = deque()
    columns: list[tuple[int, str]] = []
    rejects: list[Reject] = []
    rows: list[tuple[int, Row]] = []
    numbered = _numbered(blocks, rejects)
    while (line := ahead.popleft() if ahead else next(numbered, None)) is not None:
        if len(rows) + len(rejects) >= 10_000:
            yield Rows(rows, tuple(rejects))
            rows = []
            rejects.clear()
        number, text = line
        if not text or text.isspace():
            continue
        if not header:
            delimiter = delimiter if delimiter else (";" if "," not in text and ";" in text else ",")
            header = [name.strip().strip('"').lower() for name in text.split(delimiter)]
            columns = _columns(header)
            continue
        fields = _record(text, number, delimiter, len(header), ahead, numbered)
        if isinstance(fields, Reject):
            rejects.append(fields)
        else:
            values = {name: fields[at] for at, name in columns if fields[at].strip()}
            rows.append((number, Row(**{"keyword": "", **values})))
    if not header and not rejects:
        return
    yield Rows(rows, tuple(rejects))


def _numbered(blocks: Iterable[Block], rejects: list[Reject]) -> Iterator[tuple[int, str]]:
    for block in blocks:
        rejects.extend(block.rejects)
        yield from enumerate(block.lines, block.first)


def _columns(header: list[str]) -> list[tuple[int, str]]:
    if "keyword" not in header:
        shown = ", ".join(header[:10])
        raise Malformed(f"no column is named keyword; the columns are: {shown[:SHOWN]}")
    return [(header.index(name), name) for name in COLUMNS if name in header]


def _record(
    text: str,
    number: int,
    delimiter: str,
    width: int,
    ahead: deque[tuple[int, str]],
    numbered: Iterator[tuple[int, str]],
) -> list[str] | Reject:
    """The fields of the record that starts here, joined over lines where its quotes ask for it."""
    fields = _fields(text, delimiter)
    taken: list[tuple[int, str]] = []
    joined = text
    while fields is None and len(taken) < MAX_JOINED:
        line = ahead.popleft() if ahead else next(numbered, None)
        if line is None:
            break
        taken.append(line)
        joined += "\n" + line[1]
        fields = _fields(joined, delimiter)
    if fields is not None and len(fields) == width:
        return fields
    ahead.extendleft(reversed(taken))
    if fields is None or taken or not fields:
        return Reject(number, "unbalanced_quotes", text[:SHOWN])
    return Reject(number, "wrong_number_of_columns", text[:SHOWN])


def _fields(text: str, delimiter: str) -> list[str] | None:
    """The fields of one record; None while a quote is open, empty where quotes make no sense."""
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error as error:
        return None if "unexpected end" in str(error) else []


def _open_parquet(stream: BinaryIO) -> tuple[Any, list[str]]:
    """The opened file and which of our columns it has."""
    # Only here: the functions that shard on AWS carry no pyarrow unless Parquet lists are wanted.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        file = pq.ParquetFile(stream)
        return file, [name for _, name in _columns(list(file.schema_arrow.names))]
    except (pa.ArrowException, OSError, UnicodeError) as error:  # a damaged footer gives any of them
        raise Malformed("this is no Parquet file, or a damaged one") from error


def _parquet(stream: BinaryIO) -> Iterator[Rows]:
    file, present = _open_parquet(stream)
    number = 1
    batches = file.iter_batches(batch_size=10_000, columns=present)
    while True:
        try:
            batch = next(batches, None)
        except (ValueError, OSError, NotImplementedError):  # what Arrow raises for damaged pages
            yield Rows([], (Reject(number, "damaged", ""),))
            return
        if batch is None:
            return
        rows: list[tuple[int, Row]] = []
        rejects: list[Reject] = []
        for values in _values(batch):
            try:
                rows.append((number, msgspec.convert(values, Row)))
            except msgspec.ValidationError:
                rejects.append(Reject(number, "not_a_row", str(values)[:SHOWN]))
            number += 1
        yield Rows(rows, tuple(rejects))


def _values(batch: Any) -> list[dict[str, Any]]:
    """The rows of a batch; a text that is no UTF-8 makes its own row unreadable, not the batch."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            return [{"not UTF-8": str(error)}]
        half = batch.num_rows // 2
        return _values(batch.slice(0, half)) + _values(batch.slice(half))
