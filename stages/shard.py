"""Shard: one part of a keyword file to batches of tasks, rejects and the part's row of the ledger.

Part k of K reads the whole file and keeps the keywords that hash to it. Nothing is coordinated,
dedupe is exact, and any part can be repeated: the same file and the same frozen run give the same
batches, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import filterfalse
from typing import BinaryIO

import msgspec

from stages.keyword_file import Row, Rows, read_rows
from stages.keywords import all_normal, normalise, objection, owner
from stages.records import MAX_KEYWORD, Batch, Malformed, Task
from stages.run import Options, Run, canonical_locale, check_row
from stages.text_blocks import SHOWN, Block, Reject


class ShardRow(msgspec.Struct, frozen=True):
    """One row of table ``shards``: with ``pages`` it proves a run complete.

    ``lines`` = ``kept`` + ``duplicates`` + ``rejected``; blank lines are no lines. ``refused`` says
    why the whole file was refused, and is empty where it was not.
    """

    run_id: str
    run_date: str
    file: str
    part: int
    parts: int
    lines: int = 0
    kept: int = 0
    rejected: int = 0
    duplicates: int = 0
    tasks: int = 0
    batches: int = 0
    refused: str = ""


def shard(stream: BinaryIO, run: Run, part: int) -> Iterator[Batch | Reject | ShardRow]:
    """Give the batches and rejects of one part as they are found, and its ``ShardRow`` last.

    Memory: the part's distinct keywords. Raises ``Malformed`` where the file is no keyword file, or was
    refused when it was dropped; that shows before the first batch.
    """
    part_of = _Part(run, part)
    if run.refused:
        raise Malformed(run.refused)
    for piece in read_rows(stream, run.name, run.size):
        if isinstance(piece, Rows):
            yield from part_of.take_rows(piece)
        else:
            yield from part_of.take_block(piece)
    yield from part_of.rest()
    yield part_of.row()


class _Part:
    """The state of one part: what was seen, what waits to fill a batch, and the counts."""

    def __init__(self, run: Run, part: int) -> None:
        self._run = run
        self._part = part
        self._seen: dict[Options, dict[str, int]] = {}
        """By group (pages left out): the pages already asked for each keyword."""
        self._single: dict[Options, set[tuple[str, int]]] = {}
        """By group: pages that rows asked for by their number, beyond the first ones of their keyword."""
        self._open: dict[Options, list[Task]] = {}
        self._objections: dict[Options, str] = {}
        self._rejected = self._kept = self._duplicates = self._tasks = self._batches = 0

    def take_block(self, block: Block) -> Iterator[Batch | Reject]:
        """The lines of a ``.txt`` file: each is a keyword with the run's options."""
        yield from self._reject(block.rejects)
        options = self._run.options
        unaskable = self._objection(options)
        if unaskable:
            numbered = enumerate(block.lines, block.first)
            yield from self._reject(
                Reject(at, unaskable, line[:SHOWN]) for at, line in numbered if line.strip()
            )
            return
        lines = block.lines
        text_is_normal = block.longest <= MAX_KEYWORD and not block.rejects and all_normal("\n".join(lines))
        if not text_is_normal:
            lines = []
            for number, line in enumerate(block.lines, block.first):
                keyword = line if line.isascii() and line.isalnum() else normalise(line)
                reason = objection(keyword)
                if not reason:
                    lines.append(keyword)
                elif reason != "empty":
                    yield from self._reject((Reject(number, reason, line[:SHOWN]),))
        if self._run.parts > 1:
            lines = [keyword for keyword in lines if owner(keyword, self._run.parts) == self._part]
        group = msgspec.structs.replace(options, pages=0)
        seen = self._seen.setdefault(group, {})
        # Every line asks for the same pages, so a keyword that was seen is a duplicate: all at C speed.
        fresh = dict.fromkeys(filterfalse(seen.__contains__, lines), options.pages)
        seen.update(fresh)
        self._kept += len(fresh)
        self._duplicates += len(lines) - len(fresh)
        waiting = self._open.setdefault(group, [])
        if options.pages == 1:
            waiting.extend(map(Task, fresh))
        else:
            waiting.extend(Task(keyword, page) for keyword in fresh for page in range(1, options.pages + 1))
        yield from self._cut(group)

    def take_rows(self, rows: Rows) -> Iterator[Batch | Reject]:
        """Rows of the other formats: each may say its own source, locale, device and pages."""
        yield from self._reject(rows.rejects)
        for number, row in rows.rows:
            keyword = normalise(row.keyword)
            options = self._options(row)
            reason = objection(keyword)
            if not reason:
                reason = options if isinstance(options, str) else self._objection(options)
            if reason or isinstance(options, str):
                yield from self._reject((Reject(number, reason, row.keyword[:SHOWN]),))
            elif self._run.parts == 1 or owner(keyword, self._run.parts) == self._part:
                yield from self._keep(keyword, options, single=row.page is not None)

    def rest(self) -> Iterator[Batch]:
        """The last, short batch of each group."""
        for group in self._open:
            yield from self._cut(group, least=1)

    def row(self) -> ShardRow:
        """The part's row of the ledger."""
        return ShardRow(
            run_id=self._run.run_id,
            run_date=self._run.run_date,
            file=self._run.name,
            part=self._part,
            parts=self._run.parts,
            lines=self._kept + self._duplicates + self._rejected,
            kept=self._kept,
            rejected=self._rejected,
            duplicates=self._duplicates,
            tasks=self._tasks,
            batches=self._batches,
        )

    def _options(self, row: Row) -> Options | str:
        """The row's options with the run's for what it leaves out; a reason where they are none."""
        given = self._run.options
        locale = canonical_locale(row.locale) if row.locale is not None else given.locale
        if locale is None:
            return "not_a_locale"
        if row.page is not None and row.pages is not None:
            return "page_and_pages"
        asked = row.page if row.page is not None else row.pages
        try:
            pages = int(asked) if asked is not None else given.pages
        except ValueError:
            return "pages_not_a_number"
        return Options(
            source=row.source.strip() if row.source is not None else given.source,
            locale=locale,
            device=row.device.strip().lower() if row.device is not None else given.device,
            pages=pages,
        )

    def _objection(self, options: Options) -> str:
        if options not in self._objections:
            self._objections[options] = check_row(self._run.sources, options)
        return self._objections[options]

    def _keep(self, keyword: str, options: Options, *, single: bool) -> Iterator[Batch]:
        """Open the tasks of a row that are new: the first ``options.pages``, or that single page."""
        group = msgspec.structs.replace(options, pages=0)
        seen = self._seen.setdefault(group, {})
        asked = seen.get(keyword, 0)
        first = max(asked + 1, options.pages) if single else asked + 1
        pages: Sequence[int] = range(first, options.pages + 1)
        if not single:
            seen[keyword] = max(asked, options.pages)
        singles = self._single.get(group)
        if singles:
            pages = [page for page in pages if (keyword, page) not in singles]
        if not pages:
            self._duplicates += 1
            return
        self._kept += 1
        if single:
            self._single.setdefault(group, set()).add((keyword, options.pages))
        waiting = self._open.setdefault(group, [])
        waiting.extend(Task(keyword, page) for page in pages)
        if len(waiting) >= self._run.batch_size:
            yield from self._cut(group)

    def _reject(self, rejects: Iterable[Reject]) -> Iterator[Reject]:
        for reject in rejects:
            if reject.line % self._run.parts == self._part:
                self._rejected += 1
                yield reject

    def _cut(self, group: Options, least: int | None = None) -> Iterator[Batch]:
        """Batches of the group's waiting tasks while there are at least ``least`` (a full one)."""
        size = self._run.batch_size
        waiting = self._open[group]
        at = 0
        while len(waiting) - at >= (least if least is not None else size):
            tasks = tuple(waiting[at : at + size])
            at += len(tasks)
            self._tasks += len(tasks)
            self._batches += 1
            yield Batch(
                run_id=self._run.run_id,
                run_date=self._run.run_date,
                part=self._part,
                batch_no=self._batches,
                source=group.source,
                locale=group.locale,
                device=group.device,
                tasks=tasks,
            )
        del waiting[:at]
