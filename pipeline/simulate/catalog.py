"""The catalog: tables as snapshots of immutable files, committed only on the snapshot that was looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.catalog import Tables
from pipeline.errors import CatalogUnavailable, CommitConflict
from pipeline.iceberg import UnknownOutcome
from pipeline.simulate.faults import Faults, Life, Violation
from pipeline.simulate.where import Bounds, bounds_of
from stages.tables import CLOSINGS, PAGES, SHARDS, TABLES, TableSpec

BatchKey = tuple[str, str, str, int, int, int]
"""Run date, source, run, part, batch_no and cut."""

_BATCH = ("run_date", "source", "run_id", "part", "batch_no", "cut")


COMMIT_TAKES = 2.0
"""Seconds between the look and the commit, at most: a file is written meanwhile."""

_UNIQUE = {SHARDS.name: ("run_id", "part"), CLOSINGS.name: ("id",)}
"""What no two rows of a table have in common."""


class DataFile(msgspec.Struct, frozen=True, eq=False):
    """An immutable file of rows: of ``pages`` by batch, (keyword, page, locale, device, status) each."""

    number: int
    pages: dict[BatchKey, tuple[tuple[str, int, str, str, str], ...]] = {}
    others: tuple[dict[str, Any], ...] = ()
    """Rows of any other table."""

    @property
    def rows(self) -> int:
        """How many."""
        return sum(map(len, self.pages.values())) + len(self.others)


class Snapshot(msgspec.Struct, frozen=True, eq=False):
    """One state of one table."""

    table: str
    number: int
    files: tuple[DataFile, ...]

    def batches(self) -> Iterable[tuple[BatchKey, tuple[tuple[str, int, str, str, str], ...]]]:
        """The pages by batch, file after file."""
        return (entry for file in self.files for entry in file.pages.items())


class Catalog:
    """Which snapshot of each table is the current one."""

    def __init__(self) -> None:
        self._current = {spec.name: Snapshot(spec.name, 0, ()) for spec in TABLES}
        self._files = 0
        self._tried = 0
        self._attempts: set[int] = set()

    def current(self, table: str) -> Snapshot:
        """The snapshot now."""
        return self._current[table]

    def new_file(self, **rows: Any) -> DataFile:
        """A file that no snapshot names yet."""
        self._files += 1
        return DataFile(self._files, **rows)

    def new_attempt(self) -> int:
        """A number for a commit that nobody tried yet."""
        self._tried += 1
        return self._tried

    def landed(self, attempts: set[int]) -> bool:
        """Whether one of these attempts became a snapshot, though it may be an old one by now."""
        return not self._attempts.isdisjoint(attempts)

    def commit(self, seen: Snapshot, files: Iterable[DataFile], attempt: int = 0) -> None:
        """Make these the table's files, if nobody did in between. Raises ``CommitConflict``.

        ``attempt`` is a number by which its snapshot is known; 0 is none.
        """
        if self._current[seen.table] is not seen:
            raise CommitConflict(f"simulated: table {seen.table} was changed by another commit")
        after = Snapshot(seen.table, seen.number + 1, tuple(files))
        check_once(after)
        self._current[seen.table] = after
        if attempt:
            self._attempts.add(attempt)


def check_once(snapshot: Snapshot) -> None:
    """No row twice. Raises ``Violation``."""
    batches: Counter[Any] = Counter(key for key, _ in snapshot.batches())
    names = _UNIQUE.get(snapshot.table, ())
    others = Counter(tuple(row[name] for name in names) for file in snapshot.files for row in file.others)
    for key, count in (batches | others).items():
        if count > 1:
            raise Violation(f"{key} is {count} times in table {snapshot.table}")


class SimulatedTables(Tables):
    """The real commit protocol, in one life, over the catalog above."""

    def __init__(self, catalog: Catalog, faults: Faults, life: Life, results_a_commit: int) -> None:
        super().__init__(
            None,  # type: ignore[arg-type]  # whatever would use it is replaced below
            results_a_commit=results_a_commit,
            sleep=faults.timeline.sleep,
            jitter=faults.random.random,
            clock=faults.timeline,
        )
        self._model = catalog
        self._faults = faults
        self._life = life

    def _fresh(self, spec: TableSpec) -> Any:
        self._faults.look(self._life, f"table {spec.name}", CatalogUnavailable)
        return self._model.current(spec.name)

    def _count(self, table: Any, where: Any, columns: tuple[str, ...]) -> Counter[tuple[Any, ...]]:
        bounds = bounds_of(where)
        counted: Counter[tuple[Any, ...]] = Counter()
        if table.table == PAGES.name:
            _count_pages(table, bounds, columns, counted)
            return counted
        for file in table.files:
            found = (row for row in file.others if bounds.hold(row))
            counted.update(tuple(row[name] for name in columns) for row in found)
        return counted

    def closing_ids(self) -> set[str]:
        """The closings and reopenings that the table holds."""
        return {row["id"] for file in self._fresh(CLOSINGS).files for row in file.others}

    def _write(
        self,
        table: Any,  # noqa: ARG002
        spec: TableSpec,
        rows: pa.Table,
        partition: tuple[Any, ...],
        sort: Sequence[str] = (),  # noqa: ARG002
    ) -> Any:
        # Look-ups name a day in ISO's way.
        first = partition[0].isoformat() if isinstance(partition[0], date) else partition[0]
        if spec.name != PAGES.name:
            others = tuple({**row, spec.partition[0]: first} for row in rows.to_pylist())
            return self._model.new_file(others=others)
        names = ("run_id", "part", "batch_no", "cut", "keyword", "page", "locale", "device", "status")
        columns = (rows[name].to_pylist() for name in names)
        batches: dict[BatchKey, list[tuple[str, int, str, str, str]]] = {}
        for run_id, part, batch_no, cut, *page in zip(*columns, strict=True):
            key = (first, partition[1], run_id, part, batch_no, cut)
            batches.setdefault(key, []).append(tuple(page))
        return self._model.new_file(pages={key: tuple(found) for key, found in batches.items()})

    def _append(self, table: Any, files: list[Any]) -> None:
        if self._faults.happens(self._faults.weather.conflict):
            # Another's commit of something else, between our look and our commit.
            current = self._model.current(table.table)
            self._model.commit(current, current.files)
        self._faults.effect(
            self._life,
            "commit",
            f"{table.table} {sum(file.rows for file in files)}",
            lambda: self._model.commit(table, (*table.files, *files)),
            UnknownOutcome,
            takes=COMMIT_TAKES,
        )


def _count_pages(
    table: Snapshot, bounds: Bounds, columns: tuple[str, ...], counted: Counter[tuple[Any, ...]]
) -> None:
    for key, pages in table.batches():
        row: dict[str, Any] = dict(zip(_BATCH, key, strict=True))
        if not bounds.hold(row):
            continue
        if "status" in columns:
            for page in pages:
                row["status"] = page[4]
                counted[tuple(row[name] for name in columns)] += 1
        else:
            counted[tuple(row[name] for name in columns)] += len(pages)
