"""Compaction done by Athena: ``OPTIMIZE`` and ``VACUUM``, for tables that are too large for one function.

What is under way stands in a workgroup that nobody else uses. A statement outlasts the function that
started it; whoever comes next finds it there, waits for it and goes on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Literal

import msgspec
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionField
from pyiceberg.table import Table
from pyiceberg.types import DateType
from pyiceberg.utils.datetime import days_to_date

from pipeline.athena_statements import AthenaStatements, has_ended, why_failed
from pipeline.expiry import expired_snapshots
from pipeline.iceberg import PREVIOUS_METADATA, open_table, translated
from pipeline.replacement import LiveFiles, Manifests
from stages.tables import TABLES, TableSpec

FILE_BYTES = 512 * 2**20
"""Of the files that Athena makes; it takes those below three quarters of it for small."""

LEAST_SMALL = 5
"""Small files of a partition below which Athena leaves them as they are."""

MANY_SMALL = 100
"""Small files of a partition that are too many for whoever reads it, however small."""

LEAST_DELETES = 2
"""Files that delete rows of one file below which Athena leaves that file as it is."""

SPARE_SNAPSHOTS = 100
"""Commits of others between the look at a table and its VACUUM: so many more snapshots are kept."""

MOST_ROUNDS = 50
"""Times that one statement is run in a row: Athena stops after 100 partitions or 20,000 files."""

_MORE = "MORE_RUNS_NEEDED"

State = Literal["done", "running", "failed"]


class Ran(msgspec.Struct, frozen=True):
    """A statement of a table's upkeep: what became of it, how often it ran, and what it read and cost.

    ``running``: time was over first, and it goes on in Athena. ``reason`` is Athena's, where it failed.
    """

    statement: str
    state: State
    rounds: int = 1
    bytes: int = 0
    cost: float = 0.0
    reason: str = ""


def workgroup(name: str) -> str:
    """The workgroup of a deployment's compaction. It has no limit of bytes, as the one for queries has."""
    return f"{name}-compact"


class AthenaCompactor:
    """Compacts a lake's tables in Athena. ``late`` says when to wait no longer; it starts nothing then."""

    def __init__(
        self,
        athena: AthenaStatements,
        catalog: Catalog,
        *,
        late: Callable[[], bool] = lambda: False,
        clock: Callable[[], float],
    ) -> None:
        self._athena = athena
        self._catalog = catalog
        self._late = late
        self._clock = clock

    def compact(self, keep_hours: float) -> Iterator[Ran]:
        """Do it to every table: what was left running first, then what is due.

        Snapshots stay for so many hours after they ceased to be current, and so do files that none
        names. Raises what ``AthenaStatements.start`` and ``translated`` say.
        """
        for execution in self._athena.under_way():
            yield self._seen(execution["QueryExecutionId"], execution.get("Query", ""), 1)
        for spec in TABLES:
            yield from self._table(spec, self._clock() - keep_hours * 3600, keep_hours)

    def _table(self, spec: TableSpec, before: float, keep_hours: float) -> Iterator[Ran]:
        if self._late():
            return
        with translated():
            table = open_table(self._catalog, spec)
            due = list(due_partitions(table, Manifests().live_files(table)))
            expired = len(expired_snapshots(table.metadata, int(before * 1000)))
            kept = len(table.metadata.snapshots) - expired + SPARE_SNAPSHOTS
        if not (due or expired):
            return
        properties = self._run(_properties(spec, keep_hours, kept))
        yield properties
        if properties.state != "done":
            # VACUUM would keep what somebody else said.
            return
        vacuum = [f"VACUUM {spec.name}"] if expired else []
        for statement in [*vacuum, *(_optimize(spec, one) for one in due)]:
            if self._late():
                return
            yield self._run(statement)

    def _run(self, statement: str) -> Ran:
        done = Ran(statement, "done", rounds=0)
        while True:
            ran = self._seen(self._athena.start(statement), statement, done.rounds + 1)
            done = msgspec.structs.replace(ran, bytes=ran.bytes + done.bytes, cost=ran.cost + done.cost)
            if not (done.state == "failed" and _MORE in done.reason):
                return done
            if self._late() or done.rounds == MOST_ROUNDS:
                # It got on, and the next turn goes on.
                return msgspec.structs.replace(done, state="done", reason="")

    def _seen(self, query_id: str, statement: str, rounds: int) -> Ran:
        execution = self._athena.waited(query_id, self._late)
        if not has_ended(execution):
            return Ran(statement, "running", rounds)
        scanned, reason = self._athena.scanned(execution), why_failed(execution)
        return Ran(statement, "failed" if reason else "done", rounds, scanned.bytes, scanned.cost, reason)


def due_partitions(table: Table, live: LiveFiles) -> Iterator[Mapping[str, Any]]:
    """The partitions, as values by column, that have enough small or deleted-from files to be worth it.

    Told from the table itself: Athena asks for ten megabytes even where it finds nothing to do.
    """
    of_partition: dict[str, list[DataFile]] = defaultdict(list)
    for file in live.data.values():
        if file.spec_id == table.metadata.default_spec_id:
            of_partition[table.spec().partition_to_path(file.partition, table.schema())].append(file)
    for _, files in sorted(of_partition.items()):
        if _is_due(files, live):
            yield {
                field.name: _value(table, field, files[0].partition[at])
                for at, field in enumerate(table.spec().fields)
            }


def _value(table: Table, field: PartitionField, value: Any) -> Any:
    # Iceberg counts days.
    days = isinstance(table.schema().find_type(field.source_id), DateType) and isinstance(value, int)
    return days_to_date(value) if days else value


def _is_due(files: list[DataFile], live: LiveFiles) -> bool:
    if any(len(live.deletes_of(file.file_path)) >= LEAST_DELETES for file in files):
        return True
    return is_worth_it([file.file_size_in_bytes for file in files])


def is_worth_it(sizes: Sequence[int]) -> bool:
    """Whether files of so many bytes are worth an ``OPTIMIZE`` of their partition: it takes all small ones.

    The largest of them is not to be written again for each few that come, but before they are many.
    """
    small = sorted(size for size in sizes if size < FILE_BYTES * 3 // 4)
    growth = len(small) >= LEAST_SMALL and sum(small[:-1]) * 2 >= small[-1]
    return growth or len(small) >= MANY_SMALL


def _properties(spec: TableSpec, keep_hours: float, kept: int) -> str:
    """What Athena goes by: it counts a snapshot's age from its making, so the ``kept`` newest are spared."""
    properties = {
        "optimize_rewrite_data_file_threshold": LEAST_SMALL,
        "optimize_rewrite_delete_file_threshold": LEAST_DELETES,
        "vacuum_max_snapshot_age_seconds": round(keep_hours * 3600),
        "vacuum_min_snapshots_to_keep": kept,
        "vacuum_max_metadata_files_to_keep": PREVIOUS_METADATA,
    }
    words = ", ".join(f"'{name}' = '{value}'" for name, value in properties.items())
    return f"ALTER TABLE {spec.name} SET TBLPROPERTIES ({words})"


def _optimize(spec: TableSpec, partition: Mapping[str, Any]) -> str:
    where = " AND ".join(_equals(name, value) for name, value in partition.items())
    return f"OPTIMIZE {spec.name} REWRITE DATA USING BIN_PACK WHERE {where}"


def _equals(column: str, value: Any) -> str:
    if value is None:
        return f"{column} IS NULL"
    if isinstance(value, date):
        return f"{column} = DATE '{value.isoformat()}'"
    if isinstance(value, str):
        quoted = value.replace("'", "''")
        return f"{column} = '{quoted}'"
    return f"{column} = {value}"
