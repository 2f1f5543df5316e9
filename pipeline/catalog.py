"""The tables in their catalog, and the commit protocol that puts every batch in exactly once.

A commit looks at one snapshot of the table, leaves out the batches that are already there, and
appends the rest on that same snapshot. Somebody else's commit in between fails ours, and the look
is taken again; an unknown outcome is treated the same, because the look tells.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, In
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from pipeline.errors import CommitConflict
from pipeline.iceberg import (
    UnknownOutcome,
    between,
    count_rows,
    equal,
    find_table,
    make_namespace,
    open_table,
    raced,
    translated,
    write_data_file,
)
from pipeline.quick_transaction import QuickTransaction
from pipeline.table_schema import version_of
from stages.aggregate import closing_table, event_date, page_batch, shard_table
from stages.measure import Kind, Reading
from stages.measurements import measured, measurement_table
from stages.records import BatchId, Closing, Malformed
from stages.shard import ShardRow
from stages.staged import Staged
from stages.tables import CLOSINGS, MEASUREMENTS, PAGES, SHARDS, TABLES, TableSpec

_Outcome = TypeVar("_Outcome")

COMMIT_TRIES = 20

LONGEST_WAIT = 2.0
"""Seconds between two tries of a commit at most, where a try itself takes a moment."""

TURNS = 8
"""Where a try takes long, so many times as long instead: sixteen writers that wait so find two in a turn."""

UNKNOWN_TRIES = 3
"""Looks after a commit that had no answer: each took the driver's own patience already."""

RESULTS_A_COMMIT = 300_000
"""Results of one commit: a file of about 27 MB, and 200 MB of memory while it is made."""

_Partition = tuple[str, str, int]
"""Run date, source and part: where the rows of one batch go."""


class Committed(msgspec.Struct, frozen=True):
    """What a commit did: pages and results added, and pages that were in the table already."""

    pages: int = 0
    results: int = 0
    already: int = 0


class _Piece(msgspec.Struct, frozen=True):
    """One batch on its way into the table: who it is, and its pages in Arrow."""

    id: BatchId
    results: int
    rows: pa.RecordBatch


class Ledger(msgspec.Struct, frozen=True):
    """What the tables say of a run: its shard rows, and its pages by status."""

    shards: tuple[ShardRow, ...]
    pages: dict[str, int]

    @property
    def complete(self) -> bool:
        """Whether every part was sharded and every task ended as exactly one page."""
        sharded = bool(self.shards) and len(self.shards) == self.shards[0].parts
        return sharded and sum(self.pages.values()) == sum(row.tasks for row in self.shards)


class Tables:
    """The tables of one lake. One object belongs to one thread."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        results_a_commit: int = RESULTS_A_COMMIT,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._results_a_commit = results_a_commit
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._tables: dict[str, Table] = {}

    def create(self) -> None:
        """Make the tables that do not exist yet, and the namespace where there is none."""
        with translated():
            raced(self._create)

    def _create(self) -> None:
        make_namespace(self._catalog)
        for spec in TABLES:
            self._table(spec)

    def append_pages(
        self, staged: Iterable[Staged], refuse: Callable[[Malformed], None] | None = None
    ) -> Committed:
        """Commit the pages of these batches, each batch exactly once whoever else commits it.

        A batch with a page that cannot be a row is left out: ``refuse`` is told, before the next batch
        is drawn. Raises ``Malformed`` for it where nobody is to be told.
        """
        total = Committed()
        waiting: dict[_Partition, list[_Piece]] = defaultdict(list)
        results = 0
        for one in staged:
            batch = one.header.batch
            if one.header.pages:
                try:
                    # Into Arrow at once: the decoded lists take three times its memory.
                    piece = _Piece(one.header.id, one.header.results, page_batch(one))
                except Malformed as error:
                    if refuse is None:
                        raise
                    refuse(error)
                    continue
                waiting[batch.run_date, batch.source, batch.part].append(piece)
                results += one.header.results
            if results >= self._results_a_commit:
                total = self._commit_all(waiting, total)
                results = 0
        return self._commit_all(waiting, total)

    def append_shards(self, rows: Sequence[ShardRow]) -> int:
        """Commit these shard rows, each once; gives how many were new."""
        added = 0
        for run_date in sorted({row.run_date for row in rows}):
            of_day = {(row.run_id, row.part): row for row in rows if row.run_date == run_date}

            def attempt(of_day: dict[tuple[str, int], ShardRow] = of_day, run_date: str = run_date) -> int:
                table = self._fresh(SHARDS)
                where = equal("run_date", run_date)
                there = self._count(table, where, ("run_id", "part"))
                missing = [row for key, row in of_day.items() if key not in there]
                if missing:
                    partition = (date.fromisoformat(run_date),)
                    self._append(table, [self._write(table, SHARDS, shard_table(missing), partition)])
                return len(missing)

            added += self._retried(attempt)
        return added

    def append_closings(self, rows: Sequence[Closing]) -> int:
        """Commit these closings and reopenings, each once; gives how many were new."""
        added = 0
        for day in sorted({event_date(row) for row in rows}):
            of_day = {row.id: row for row in rows if event_date(row) == day}

            def attempt(of_day: dict[str, Closing] = of_day, day: date = day) -> int:
                table = self._fresh(CLOSINGS)
                there = self._count(table, equal("event_date", day.isoformat()), ("id",))
                missing = [row for key, row in of_day.items() if (key,) not in there]
                if missing:
                    made = closing_table(missing)
                    self._append(table, [self._write(table, CLOSINGS, made, (day,))])
                return len(missing)

            added += self._retried(attempt)
        return added

    def closing_ids(self) -> set[str]:
        """The closings and reopenings that the table holds, by their ids."""
        with translated():
            return {
                str(one)
                for batch in self._fresh(CLOSINGS).scan(selected_fields=("id",)).to_arrow_batch_reader()
                for one in batch.column("id").to_pylist()
            }

    def append_readings(self, readings: Sequence[Reading]) -> int:
        """Commit what probes saw, each probe once whoever else commits it; gives how many were new."""
        added = 0
        for experiment in sorted({(one.kind, one.experiment) for one in readings}):
            of_probe = {one.probe: one for one in readings if (one.kind, one.experiment) == experiment}

            def attempt(of_probe: dict[str, Reading] = of_probe, named: tuple[str, str] = experiment) -> int:
                table = self._fresh(MEASUREMENTS)
                where = And(equal("kind", named[0]), equal("experiment", named[1]))
                there = {probe for (probe,) in self._count(table, where, ("probe",))}
                missing = [one for probe, one in of_probe.items() if probe not in there]
                if missing:
                    rows = measurement_table(missing)
                    self._append(table, [self._write(table, MEASUREMENTS, rows, (named[0],))])
                return len(missing)

            added += self._retried(attempt)
        return added

    def experiments(self) -> list[tuple[Kind, str]]:
        """The kinds and names of all experiments that have rows, in the order of the names."""
        with translated():
            table = find_table(self._catalog, MEASUREMENTS)
            found = count_rows(table, AlwaysTrue(), ("kind", "experiment")) if table is not None else ()
        return sorted(((kind, name) for kind, name in found), key=lambda one: one[1])

    def readings(self, kind: Kind, experiment: str) -> list[Reading]:
        """The rows of one experiment, in no order; none where nothing of it was committed."""
        with translated():
            where = And(equal("kind", kind), equal("experiment", experiment))
            table = find_table(self._catalog, MEASUREMENTS)
            return measured(table.scan(row_filter=where).to_arrow()) if table is not None else []

    def ledger(self, run_id: str, run_date: str) -> Ledger:
        """The state of a run, by one streamed pass over its day."""
        with translated():
            where = And(equal("run_date", run_date), equal("run_id", run_id))
            statuses = Counter(
                {
                    status: count
                    for (status,), count in self._count(self._fresh(PAGES), where, ("status",)).items()
                }
            )
            names = tuple(ShardRow.__struct_fields__)
            rows = self._count(self._fresh(SHARDS), where, names)
        shards = sorted(
            (ShardRow(**{**dict(zip(names, row, strict=True)), "run_date": run_date}) for row in rows),
            key=lambda row: row.part,
        )
        return Ledger(tuple(shards), dict(statuses))

    def cuts(self, run_id: str, run_date: str, part: int) -> Counter[tuple[int, int]]:
        """How many pages of each (batch_no, cut) of one part the table holds, streamed over integers."""
        with translated():
            where = And(equal("run_date", run_date), equal("part", part), equal("run_id", run_id))
            found = self._count(self._fresh(PAGES), where, ("batch_no", "cut"))
        return Counter({(batch_no, cut): pages for (batch_no, cut), pages in found.items()})

    def pages(
        self, run_id: str, run_date: str, columns: Sequence[str], **only: Sequence[str]
    ) -> Iterator[tuple[Any, ...]]:
        """These columns of a run's pages, row by row; ``only`` names the values that a column may have."""
        where: BooleanExpression = And(equal("run_date", run_date), equal("run_id", run_id))
        for column, values in only.items():
            where = And(where, In(column, values))  # type: ignore[call-arg, arg-type]
        with translated():
            scan = self._fresh(PAGES).scan(row_filter=where, selected_fields=tuple(columns))
            for batch in scan.to_arrow_batch_reader():
                yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)

    def _commit_all(self, waiting: dict[_Partition, list[_Piece]], total: Committed) -> Committed:
        for partition in list(waiting):
            done = self._commit(partition, waiting.pop(partition))
            total = Committed(
                total.pages + done.pages, total.results + done.results, total.already + done.already
            )
        return total

    def _commit(self, partition: _Partition, pieces: list[_Piece]) -> Committed:
        written: dict[frozenset[BatchId], DataFile] = {}

        def attempt() -> Committed:
            table = self._fresh(PAGES)
            there = self._batches_there(table, partition, [piece.id for piece in pieces])
            missing = {piece.id: piece for piece in pieces if piece.id not in there}
            pages = sum(piece.rows.num_rows for piece in missing.values())
            if missing:
                ids = frozenset(missing)
                if ids not in written:
                    rows = pa.Table.from_batches([piece.rows for piece in missing.values()])
                    values = (date.fromisoformat(partition[0]), *partition[1:])
                    written[ids] = self._write(table, PAGES, rows, values, sort=("keyword", "page"))
                self._append(table, [written[ids]])
            given = sum(piece.rows.num_rows for piece in pieces)
            return Committed(pages, sum(piece.results for piece in missing.values()), given - pages)

        return self._retried(attempt)

    def _batches_there(self, table: Table, partition: _Partition, ids: list[BatchId]) -> set[BatchId]:
        """Which of these batches the table holds, streamed over integers of their partition."""
        run_date, source, part = partition
        numbers = {one.batch_no for one in ids}
        there: set[BatchId] = set()
        for run_id in {one.run_id for one in ids}:
            where: BooleanExpression = And(
                equal("run_date", run_date),
                equal("source", source),
                equal("part", part),
                equal("run_id", run_id),
                # By its bounds for the files, and each for the rows: late batches come from far apart.
                between("batch_no", min(numbers), max(numbers)),
                In("batch_no", numbers),  # type: ignore[call-arg, arg-type]
            )
            found = self._count(table, where, ("batch_no", "cut"))
            there.update(BatchId(run_id, part, batch_no, cut) for batch_no, cut in found)
        return there

    def _count(
        self, table: Table, where: BooleanExpression, columns: tuple[str, ...]
    ) -> Counter[tuple[Any, ...]]:
        return count_rows(table, where, columns)

    def _write(
        self,
        table: Table,
        spec: TableSpec,
        rows: pa.Table,
        partition: tuple[Any, ...],
        sort: Sequence[str] = (),
    ) -> DataFile:
        return write_data_file(table, spec, rows, partition, sort)

    def _append(self, table: Table, files: list[DataFile]) -> None:
        with QuickTransaction(table) as transaction, transaction.update_snapshot().fast_append() as append:
            for file in files:
                append.append_data_file(file)

    def _retried(self, attempt: Callable[[], _Outcome]) -> _Outcome:
        """Look and append until nobody came in between, waiting a little longer each time."""
        unknown = 0
        for tried in range(COMMIT_TRIES):
            started = self._clock()
            try:
                with translated():
                    return attempt()
            except UnknownOutcome:
                unknown += 1
                if unknown == UNKNOWN_TRIES:
                    raise
            except CommitConflict:
                pass
            most = max(LONGEST_WAIT, TURNS * (self._clock() - started))
            self._sleep(min(most, 0.02 * 2**tried) * (0.5 + self._jitter()))
        raise CommitConflict(
            f"{COMMIT_TRIES} commits in a row lost to others; the batches wait in their queue"
        )

    def _fresh(self, spec: TableSpec) -> Table:
        table = self._table(spec).refresh()
        # A newer serpline may have come meanwhile.
        version_of(table, spec)
        return table

    def _table(self, spec: TableSpec) -> Table:
        if spec.name not in self._tables:
            self._tables[spec.name] = open_table(self._catalog, spec)
        return self._tables[spec.name]
