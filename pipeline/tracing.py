"""Tracing: where one keyword of a run is, hop by hop, from its line in the file to its rows in the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from itertools import islice

import msgspec

from pipeline import keys
from pipeline.catalog import Ledger, Tables
from pipeline.errors import Unreadable
from pipeline.pending import backlog_of, batches, chain
from pipeline.run_control import said_of
from pipeline.storage.protocol import Storage
from stages.keyword_file import Rows, read_rows
from stages.keywords import normalise, owner
from stages.records import Batch, Malformed, Task
from stages.run import Run
from stages.staged import decode_staged

MOST_LINES = 20
"""Lines of the file that are named; the keyword may stand in more."""

_COLUMNS = ("batch_no", "cut", "page", "status", "reason", "http_status", "attempts", "fetched_at", "lane")


class Reason(msgspec.Struct, frozen=True):
    """A line that was rejected, and why."""

    line: int
    reason: str


class StagedTask(msgspec.Struct, frozen=True):
    """What a staged object says of the task: how it ended, or ``left`` for the next cut."""

    cut: int
    key: str
    status: str
    reason: str = ""
    attempts: int = 0
    refusals: int = 0


class TableRow(msgspec.Struct, frozen=True):
    """The task's row in table ``pages``."""

    cut: int
    status: str
    reason: str
    http_status: int
    attempts: int
    fetched_at: datetime
    lane: str


class TracedTask(msgspec.Struct, frozen=True):
    """One task of the keyword: its batch, what was staged for it by cut, its rows, and where it is now."""

    source: str
    locale: str
    device: str
    page: int
    batch_no: int
    staged: tuple[StagedTask, ...]
    rows: tuple[TableRow, ...]
    now: str


class Traced(msgspec.Struct, frozen=True):
    """A keyword in one run: the lines it stands in, the part that keeps it, and its tasks."""

    run_id: str
    file: str
    keyword: str
    lines: tuple[int, ...]
    part: int
    sharded: bool
    rejected: tuple[Reason, ...]
    tasks: tuple[TracedTask, ...]


def trace(storage: Storage, tables: Tables, run: Run, keyword: str) -> Traced | None:
    """Where a keyword of a run is; None where the run's file does not have it.

    Reads the whole file, twice where the keyword is in it, and storage and table for its batches alone.
    """
    keyword = normalise(keyword)
    lines = tuple(islice(_lines(storage, run, keyword), MOST_LINES))
    if not lines:
        return None
    part = owner(keyword, run.parts) if run.parts > 1 else 0
    ledger = tables.ledger(run.run_id, run.run_date)
    sharded = part in {row.part for row in ledger.shards}
    rows: dict[tuple[int, int], list[TableRow]] = {}
    for batch_no, cut, page, *values in tables.pages(run.run_id, run.run_date, _COLUMNS, keyword=(keyword,)):
        rows.setdefault((batch_no, page), []).append(TableRow(cut, *values))
    tasks = tuple(
        _task(storage, run, batch, task, rows.get((batch.batch_no, task.page), []), ledger)
        for batch in batches(storage, run, part)
        for task in batch.tasks
        if task.keyword == keyword
    )
    rejected = tuple(_rejected(storage, run, lines))
    return Traced(run.run_id, run.name, keyword, lines, part, sharded, rejected, tasks)


def _lines(storage: Storage, run: Run, keyword: str) -> Iterator[int]:
    with closing(storage.open(run.key, version=run.version)) as stream:
        try:
            for piece in read_rows(stream, run.name, run.size):
                found: Iterable[tuple[int, str]] = (
                    ((number, row.keyword) for number, row in piece.rows)
                    if isinstance(piece, Rows)
                    else enumerate(piece.lines, piece.first)
                )
                yield from (number for number, text in found if normalise(text) == keyword)
        except Malformed:
            return


def _rejected(storage: Storage, run: Run, lines: tuple[int, ...]) -> Iterator[Reason]:
    for part in sorted({line % run.parts for line in lines}):
        for raw in (storage.find(keys.rejects(run.run_id, part)) or b"").splitlines():
            reject = msgspec.json.decode(raw, type=Reason)
            if reject.line in lines:
                yield reject


def _task(
    storage: Storage, run: Run, batch: Batch, task: Task, rows: list[TableRow], ledger: Ledger
) -> TracedTask:
    staged, waiting = _staged(storage, batch, task)
    if rows:
        now = "in the table"
    elif waiting is None:
        now = "staged, and not committed yet: its pointer waits in the results queue"
    else:
        now = _whereabouts(storage, run, waiting, ledger)
    return TracedTask(
        batch.source, batch.locale, batch.device, task.page, batch.batch_no, tuple(staged), tuple(rows), now
    )


def _staged(storage: Storage, batch: Batch, task: Task) -> tuple[list[StagedTask], Batch | None]:
    """What the objects of the batch say of the task, and the cut that it waits in where none ended it."""
    said: list[StagedTask] = []
    for key, cut, header in chain(storage, batch):
        if header is None:
            return said, cut
        left = header.remainder
        waits = next((one for one in left.tasks if _same(one, task)), None) if left is not None else None
        if waits is not None:
            said.append(StagedTask(cut.cut, key, "left", "", waits.attempts, waits.refusals))
            continue
        said.append(_ended(storage, key, cut, task))
        break
    return said, None


def _ended(storage: Storage, key: str, cut: Batch, task: Task) -> StagedTask:
    try:
        pages = decode_staged(storage.get(key)).columns.pages
    except Malformed as error:
        raise Unreadable(f"staged object {key}: {error}", key=key) from error
    for at, (keyword, page) in enumerate(zip(pages.keyword, pages.page, strict=True)):
        if keyword == task.keyword and page == task.page:
            return StagedTask(cut.cut, key, pages.status[at], pages.reason[at], pages.attempts[at])
    raise Unreadable(f"staged object {key} has neither a page for the task nor leaves it undone", key=key)


def _same(one: Task, other: Task) -> bool:
    return one.keyword == other.keyword and one.page == other.page


def _whereabouts(storage: Storage, run: Run, cut: Batch, ledger: Ledger) -> str:
    """Where the batch of a task is that no staged object ended."""
    at = (cut.part, cut.batch_no, cut.cut)
    chunk = next((key for key, waiting in backlog_of(storage, run) if waiting == at), "")
    said = said_of(storage, run.run_id)
    note = f" (the run is {said})" if said else ""
    if chunk:
        return f"in the backlog, {chunk}{note}"
    if cut.part not in {row.part for row in ledger.shards}:
        return f"its part is not sharded yet, or its row is on its way{note}"
    if run.by == "here":
        return "not asked yet: the same `serpline run` command goes on with it"
    return f"to be fetched{note}: where the queue is empty, `serpline redrive fetch`, then `serpline repair`"
