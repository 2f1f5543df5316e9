"""Compaction of a lake's tables: many small files become few sorted ones, under readers and writers.

New files are written first and named by one commit that replaces exactly the files they were made
of. Who reads sees the old files or the new ones. A commit of another in between is no obstacle as
long as those files are still there and as they were read; else the work is given up.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile, FileFormat
from pyiceberg.table import Table

from pipeline.errors import CommitConflict, Misuse
from pipeline.expiry import Removed, expire_snapshots, local_folder, remove_unnamed
from pipeline.iceberg import UnknownOutcome, knows_all_columns, open_table, translated
from pipeline.merging import merge_files
from pipeline.replacement import LiveFiles, Manifests, Replacement
from pipeline.replacing import TRIES, replace_group, wait_before
from stages.compact import ALONE_BYTES, TARGET_BYTES, FileFacts, plan
from stages.tables import TABLES, TableSpec

KEEP_HOURS = 24.0


class Compacted(msgspec.Struct, frozen=True):
    """What became of a partition: its files and bytes before and after; ``given_up`` counts lost groups."""

    table: str
    partition: str
    files: int
    bytes: int
    files_after: int
    bytes_after: int
    given_up: int = 0


class TableUpkeep(msgspec.Struct, frozen=True):
    """What was done to a table.

    ``left_out`` says why nothing could be compacted, where that is so; ``late`` that time
    ran out before the end.
    """

    table: str
    partitions: tuple[Compacted, ...] = ()
    snapshots: int = 0
    removed: Removed = Removed()
    left_out: str = ""
    late: bool = False


class _Group(msgspec.Struct, frozen=True):
    """Files that are replaced together, as they were when they were looked at."""

    files: tuple[DataFile, ...]
    deletes: dict[str, frozenset[str]]


class Compactor:
    """Compacts the tables of one lake: a folder, or a bucket as ``s3://name``.

    ``scratch`` is a folder with room for the rows of the group that is merged: the lake's own, or for
    a bucket the machine's folder for temporary files, where nothing else is said. Once it is ``late`` no
    further files are compacted; what is old goes all the same.
    """

    def __init__(  # noqa: PLR0913  # most have a default that tests replace
        self,
        catalog: Catalog,
        lake: Path | str,
        *,
        scratch: Path | None = None,
        target: int = TARGET_BYTES,
        alone: int = ALONE_BYTES,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
        late: Callable[[], bool] = lambda: False,
    ) -> None:
        self._catalog = catalog
        self._late = late
        self._bucket = str(lake).rstrip("/") if str(lake).startswith("s3://") else ""
        self._lake = lake
        self._scratch = scratch if scratch is not None else self._room()
        self._target = target
        self._alone = alone
        self._sleep = sleep
        self._jitter = jitter
        self._clock = clock

    def compact(self, keep_hours: float = KEEP_HOURS) -> Iterator[TableUpkeep]:
        """Do it to every table, one after the other.

        Snapshots stay for so many hours after they ceased to be current, and so do files that none
        names. Raises ``Misuse`` for a lake that was copied or moved, ``CommitConflict`` where expiry
        always lost, and what ``translated`` says.
        """
        for spec in TABLES:
            with translated():
                table = open_table(self._catalog, spec)
                self._check_place(table)
                manifests = Manifests()
                partitions: tuple[Compacted, ...] = ()
                left_out = _left_out(table, spec, manifests)
            if not left_out:
                partitions = tuple(self._partitions(table, spec, manifests))
            late = self._late()
            # However much there is to compact: where nothing expires every commit gets slower.
            before = self._clock() - keep_hours * 3600
            snapshots = self._expire(table, before)
            with translated():
                removed = remove_unnamed(table, before)
            yield TableUpkeep(spec.name, partitions, snapshots, removed, left_out, late)

    def _room(self) -> Path:
        return Path(tempfile.gettempdir() if self._bucket else self._lake)

    def _check_place(self, table: Table) -> None:
        """A copy names the files of its original, and does not know what was committed there since."""
        folder = local_folder(table)
        if self._bucket:
            here = table.location().startswith(f"{self._bucket}/")
        else:
            here = folder is not None and folder.is_relative_to(Path(self._lake).resolve())
        if not here:
            raise Misuse(
                f"the lake at {self._lake} names files in {folder or table.location()}; "
                "was it copied or moved? Compact it there"
            )

    def _partitions(self, table: Table, spec: TableSpec, manifests: Manifests) -> Iterator[Compacted]:
        with translated():
            live = manifests.live_files(table)
        of_partition: dict[str, list[DataFile]] = defaultdict(list)
        for file in live.data.values():
            if file.spec_id == table.metadata.default_spec_id and file.file_format == FileFormat.PARQUET:
                of_partition[table.spec().partition_to_path(file.partition, table.schema())].append(file)
        for name, files in sorted(of_partition.items()):
            groups = plan((_facts(file, live) for file in files), self._target)
            if groups and not self._late():
                yield self._partition(table, spec, manifests, name, files, live, groups)

    def _partition(  # what a partition is
        self,
        table: Table,
        spec: TableSpec,
        manifests: Manifests,
        name: str,
        files: list[DataFile],
        live: LiveFiles,
        groups: list[tuple[FileFacts, ...]],
    ) -> Compacted:
        count, size, given_up = len(files), sum(file.file_size_in_bytes for file in files), 0
        by_address = {file.file_path: file for file in files}
        after, size_after = count, size
        for facts in groups:
            if self._late():
                break
            chosen = tuple(by_address[fact.path] for fact in facts)
            group = _Group(chosen, {file.file_path: live.deletes_of(file.file_path) for file in chosen})
            new = self._replace(table, spec, manifests, group, name)
            if new is None:
                given_up += 1
                continue
            after += len(new) - len(chosen)
            size_after += sum(file.file_size_in_bytes for file in new) - sum(fact.size for fact in facts)
        return Compacted(spec.name, name, count, size, after, size_after, given_up)

    def _replace(
        self, table: Table, spec: TableSpec, manifests: Manifests, group: _Group, folder: str
    ) -> list[DataFile] | None:
        """The files that replaced the group's, or ``None`` where it was given up."""
        with translated():
            deletes = sorted({one for found in group.deletes.values() for one in found})
            try:
                new = merge_files(table, spec, group.files, deletes, folder, self._scratch, self._alone)
            except FileNotFoundError:
                # Replaced and removed by another meanwhile, if the look agrees.
                if manifests.live_files(table.refresh()).still(group.deletes):
                    raise
                return None
        named = _Named(table, manifests, group, new, self._run)
        return new if replace_group(named, self._sleep, self._jitter) == "replaced" else None

    def _run(self, replacement: Replacement, old: list[DataFile], new: list[DataFile]) -> None:
        replacement.run(old, new)

    def _expire(self, table: Table, before: float) -> int:
        for tried in range(TRIES):
            try:
                with translated():
                    return expire_snapshots(table.refresh(), before)
            except (CommitConflict, UnknownOutcome):
                self._sleep(wait_before(tried + 1, self._jitter()))
        raise CommitConflict("expiry lost to other commits each time; run it again later")


class _Named:
    """A group's files in the table, and the new ones that no snapshot names yet."""

    def __init__(
        self,
        table: Table,
        manifests: Manifests,
        group: _Group,
        new: list[DataFile],
        run: Callable[[Replacement, list[DataFile], list[DataFile]], None],
    ) -> None:
        self._table = table
        self._manifests = manifests
        self._group = group
        self._new = new
        self._run = run
        self._tries: set[int] = set()
        self._live: LiveFiles | None = None

    def look(self) -> None:
        with translated():
            self._table.refresh()

    def landed(self) -> bool:
        return any(self._table.metadata.snapshot_by_id(one) is not None for one in self._tries)

    def still(self) -> bool:
        with translated():
            self._live = self._manifests.live_files(self._table)
        return self._live.still(self._group.deletes)

    def replace(self) -> None:
        assert self._live is not None  # noqa: S101  # looked at before
        old = self._group.files
        idle = self._live.idle({file.file_path for file in old})
        with translated():
            replacement = Replacement(self._table, self._manifests)
            self._tries.add(replacement.snapshot_id)
            self._run(replacement, [*old, *idle], self._new)

    def discard(self) -> None:
        with translated():
            for file in self._new:
                self._table.io.delete(file.file_path)


def _left_out(table: Table, spec: TableSpec, manifests: Manifests) -> str:
    if not knows_all_columns(table, spec):
        return "its columns are not those that this serpline knows: compact it by OPTIMIZE in Athena"
    if manifests.live_files(table).foreign:
        return "it holds deletes in a form that only Athena reads: compact it by OPTIMIZE there"
    return ""


def _facts(file: DataFile, live: LiveFiles) -> FileFacts:
    cut = bool(live.deletes_of(file.file_path))
    return FileFacts(file.file_path, file.file_size_in_bytes, file.record_count, cut)
