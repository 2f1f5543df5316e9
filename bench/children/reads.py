"""A lake of ten days and questions to its views: ``python -m bench.children.reads MODE LAKE PAGES …``.

``prepare`` makes the lake, each day with so many pages, ten results each (one page in fifty was refused),
and packs a day's rows as lines of JSON: prints their bytes. The days differ by run, date and times alone.
``ask VIEW QUESTION`` asks one view for one keyword, day or domain: prints the bytes that were read, by what
the kernel counts for this process, and the rows of the answer.
"""

from __future__ import annotations

import gzip
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bench.made_up import PAGES_A_BATCH, keyword, staged_batches
from pipeline.catalog import Tables
from pipeline.iceberg import open_folder_catalog, open_table, write_data_file
from pipeline.query import Lake
from stages.aggregate import page_batch
from stages.records import Closing, Page
from stages.shard import ShardRow
from stages.staged import decode_staged, encode_staged
from stages.tables import PAGES

DAYS = 10
FIRST, SOURCE = date(2026, 1, 31), "practice_page"
REFUSED_EVERY = 50
CLOSINGS_A_DAY = 20

QUESTIONS = (
    ("results", "keyword"),
    ("results", "day"),
    ("results", "domain"),
    ("latest_ranks", "keyword"),
    ("latest_ranks", "day"),
    ("latest_ranks", "domain"),
    ("rank_changes", "keyword"),
    ("rank_changes", "day"),
    ("rank_changes", "domain"),
    ("share_of_voice", "day"),
    ("share_of_voice", "domain"),
    ("refusals", "day"),
    ("drift", "day"),
    ("runs", "day"),
)
"""Each view over ``pages`` with the questions for which it has a column."""


def _prepare(lake: Path, pages: int) -> dict[str, float]:
    made = lake / "made.json"
    if made.exists():
        return msgspec.json.decode(made.read_bytes(), type=dict[str, float])
    shutil.rmtree(lake, ignore_errors=True)
    lake.mkdir(parents=True)
    with gzip.open(lake / "pages.jsonl.gz", "wb", compresslevel=6) as packed:
        day = pa.Table.from_batches(list(_rows(pages, packed)))
    catalog = open_folder_catalog(lake)
    tables = Tables(catalog)
    tables.create()
    for number in range(DAYS):
        table = open_table(catalog, PAGES)
        file = write_data_file(
            table, PAGES, _on(day, number), (_date(number), SOURCE, 0), sort=("keyword", "page")
        )
        with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
            append.append_data_file(file)
        row = ShardRow(_run(number), _date(number).isoformat(), "keywords/made-up.txt", 0, 1)
        tables.append_shards([msgspec.structs.replace(row, lines=pages, kept=pages, tasks=pages)])
    tables.append_closings([_closing(at) for at in range(DAYS * CLOSINGS_A_DAY)])
    told = {"packed": float((lake / "pages.jsonl.gz").stat().st_size)}
    made.write_bytes(msgspec.json.encode(told))
    return told


def _run(number: int) -> str:
    return f"made-up-{number}"


def _date(number: int) -> date:
    return FIRST + timedelta(number)


def _rows(count: int, packed: gzip.GzipFile) -> Iterator[pa.RecordBatch]:
    """A day's pages in Arrow, by the way that staged ones take; each also as a line of JSON."""
    for batch, pages in staged_batches(count // PAGES_A_BATCH):
        answered = [_refused(page) if at % REFUSED_EVERY == 0 else page for at, page in enumerate(pages, 1)]
        packed.writelines(msgspec.json.encode(page) + b"\n" for page in answered)
        yield page_batch(decode_staged(encode_staged(batch, answered, lane="")))


def _refused(page: Page) -> Page:
    return msgspec.structs.replace(page, status="refused", reason="captcha", results=(), total_results=None)


def _on(day: pa.Table, number: int) -> pa.Table:
    """The same rows of another day."""
    later = pa.scalar(timedelta(number), pa.duration("us"))
    new = {
        "run_id": pa.repeat(_run(number), day.num_rows),
        "run_date": pa.repeat(pa.scalar(_date(number), pa.date32()), day.num_rows),
        **{name: pc.add(day[name], later) for name in ("requested_at", "fetched_at")},
    }
    columns = [new.get(name, day[name]) for name in day.column_names]
    return pa.table(columns, schema=day.schema)


def _closing(at: int) -> Closing:
    """One every so many minutes: closed, then reopened, in turns."""
    begun = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC).timestamp()
    apart = 86_400 / CLOSINGS_A_DAY
    closed = begun + (at - at % 2) * apart
    one = Closing(id=f"{at:032x}", source=SOURCE, event="closed", happened_at=closed, closed_since=closed)
    if at % 2:
        return msgspec.structs.replace(one, event="reopened", happened_at=closed + apart)
    return msgspec.structs.replace(one, closed_until=closed + 600, reason="captcha", refusals=1)


def _ask(lake: Path, pages: int, view: str, question: str) -> dict[str, float]:
    sql = f"SELECT * FROM {view} WHERE {_condition(pages, view, question)}"  # noqa: S608  # of this file
    # What is imported and built for the first question is no part of it.
    with Lake(lake) as opened:
        opened.ask("EXPLAIN " + sql)
    before = _bytes_read()
    with Lake(lake) as opened:
        rows = sum(len(chunk) for chunk in opened.ask(sql).chunks())
    return {"bytes": _bytes_read() - before, "rows": rows}


def _condition(pages: int, view: str, question: str) -> str:
    day = _date(DAYS - 1 if view == "latest_ranks" else 1)
    if question == "day":
        if view == "closures":
            return f"closed_at >= TIMESTAMP '{day} 00:00:00' AND closed_at < TIMESTAMP '{_date(2)} 00:00:00'"
        return f"run_date = DATE '{day}'"
    if question == "keyword":
        return f"keyword = '{keyword(pages // 2)}'"
    [(_, answered)] = staged_batches(1)
    return f"domain = '{answered[0].results[0].domain}'"


def _bytes_read() -> int:
    """By all ``read`` calls of this process, whether or not a disk was asked."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


if __name__ == "__main__":
    mode, lake, pages = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    done = _prepare(lake, pages) if mode == "prepare" else _ask(lake, pages, *sys.argv[4:])
    print(msgspec.json.encode(done).decode())
