"""Look-up: the bytes that are read for one keyword's ranks (rank and url) in a file of about 100 MB.

The file is what aggregate writes (``stages.aggregate.write_parquet``, 1.2 million results); pyarrow reads
it through a file object that counts. A look-up opens the file, passes over the row groups whose
statistics exclude the keyword, and reads three columns of the rest. Beside it the same file unsorted,
and the same pages as gzipped lines of JSON, which are read whole.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.aggregating import count_results
from bench.figures import Failed, Figure, middle
from bench.made_up import PAGES_A_BATCH, RESULTS_A_PAGE, keyword, staged_batches
from bench.process import WORK
from stages.aggregate import page_batch, write_parquet
from stages.staged import decode_staged, encode_staged
from stages.tables import PAGES

RESULTS = 1_200_000
LOOKUPS = 50
GOAL = 1.0

_FOLDER = WORK / "lookup"
_COLUMNS = ["keyword", "results.list.element.rank", "results.list.element.url"]


class _Counting(io.FileIO):
    """A file that counts the bytes that are read from it."""

    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(-1 if size is None else size)
        self.read_bytes += len(piece)
        return piece

    def readall(self) -> bytes:
        piece = super().readall()
        self.read_bytes += len(piece)
        return piece

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        self.read_bytes += count
        return count


def bench_lookup(scale: float, _repeat: int, _wanted: Collection[str]) -> Iterator[Figure]:
    """``lookup_megabytes``; counting bytes has no noise, so once is enough."""
    batches = max(1, int(RESULTS * scale) // (PAGES_A_BATCH * RESULTS_A_PAGE))
    _FOLDER.mkdir(parents=True, exist_ok=True)
    lines = _FOLDER / "pages.jsonl.gz"
    with gzip.open(lines, "wb", compresslevel=6) as packed:
        pages = pa.Table.from_batches(list(_rows(batches, packed)))
    files = {}
    for name, sort in (("sorted", ("keyword", "page")), ("unsorted", ())):
        files[name] = _FOLDER / f"{name}.parquet"
        with files[name].open("wb") as sink:
            write_parquet(pages, PAGES.schema, sink, sort)
    numbers = range(0, pages.num_rows, max(1, pages.num_rows // LOOKUPS))
    read = {name: [_look_up(path, keyword(n)) for n in numbers] for name, path in files.items()}
    yield Figure(
        "lookup_megabytes",
        middle(total for total, _needed in read["sorted"]) / 1e6,
        "MB read",
        floor=middle(needed for _total, needed in read["sorted"]) / 1e6,
        goal=GOAL,
        peers={
            "the whole file": files["sorted"].stat().st_size / 1e6,
            "unsorted": middle(total for total, _needed in read["unsorted"]) / 1e6,
            "gzipped JSON lines": lines.stat().st_size / 1e6,
        },
        at_most=True,
    )


def _rows(batches: int, packed: gzip.GzipFile) -> Iterator[pa.RecordBatch]:
    """The pages in Arrow, by the way that staged ones take; each also as a line of JSON."""
    for batch, pages in staged_batches(batches):
        packed.writelines(msgspec.json.encode(page) + b"\n" for page in pages)
        yield page_batch(decode_staged(encode_staged(batch, pages, lane="")))


def _look_up(path: Path, wanted: str) -> tuple[int, int]:
    """Bytes read for one keyword, and those of them that are its row groups' columns, not the footer."""
    with _Counting(path) as source:
        file = pq.ParquetFile(source)
        at = file.schema_arrow.names.index("keyword")
        needed = ranks = 0
        footer_read = source.read_bytes
        for group in range(file.num_row_groups):
            column = file.metadata.row_group(group).column(at)
            statistics: Any = column.statistics
            if statistics is None or not statistics.min <= wanted <= statistics.max:
                continue
            rows = file.read_row_group(group, columns=_COLUMNS)
            ranks += count_results(rows.filter(pc.field("keyword") == wanted))
        needed = source.read_bytes - footer_read
    if ranks != RESULTS_A_PAGE:
        raise Failed(f"{ranks} ranks of {wanted!r} were found in {path.name}")
    return source.read_bytes, needed
