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

from pipeline.errors import CommitConflict, DiskFull, Misuse, Retryable
from pipeline.expiry import Removed, expire_snapshots, local_folder, remove_unnamed
from pipeline.iceberg import UnknownOutcome, knows_all_columns, open_table, translated
from pipeline.merging import merge_files
from pipeline.replacement import LiveFiles, Manifests, Replacement
from stages.compact import ALONE_BYTES, TARGET_BYTES, FileFacts, plan
from stages.tables import TABLES, TableSpec

COMMIT_TRIES = 30
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

    ``left_out`` says why nothing could be compacted, where that is so; ``late`` that time ran out before the end.
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
        landed, certain = self._commit(table, manifests, group, new)
        if landed:
            return new
        if certain:
            # Of an outcome that nobody knows the files stay: a late commit may still name them.
            _remove(table, new)
        return None

    def _commit(
        self, table: Table, manifests: Manifests, group: _Group, new: list[DataFile]
    ) -> tuple[bool, bool]:
        """Whether the group was replaced, and whether that is certain.

        Raises ``Retryable`` where at the end it was no other's commit but an outage, as a disk that is full.
        """
        attempts: set[int] = set()
        certain = True
        outage: Retryable | None = None
        for tried in range(COMMIT_TRIES):
            try:
                with translated():
                    table.refresh()
                    # Which snapshots there are, not which files: ours may be replaced again by now.
                    if any(table.metadata.snapshot_by_id(one) is not None for one in attempts):
                        return True, True
                    live = manifests.live_files(table)
                    if not live.still(group.deletes):
                        return False, certain
                    replacement = Replacement(table, manifests)
                    attempts.add(replacement.snapshot_id)
                    old = [*group.files, *live.idle({file.file_path for file in group.files})]
                    self._run(replacement, old, new)
                    return True, True
            except CommitConflict:
                outage = None
            except DiskFull:
                # Of what was written for nothing, the room is wanted.
                if certain:
                    _remove(table, new)
                raise
            except Retryable as error:
                # It may have landed before the answer was lost; the next look tells.
                certain, outage = False, error
            self._sleep(min(1.0, 0.02 * 2**tried) * (0.5 + self._jitter()))
        if outage is not None:
            raise outage
        return False, certain

    def _run(self, replacement: Replacement, old: list[DataFile], new: list[DataFile]) -> None:
        replacement.run(old, new)

    def _expire(self, table: Table, before: float) -> int:
        for tried in range(COMMIT_TRIES):
            try:
                with translated():
                    return expire_snapshots(table.refresh(), before)
            except (CommitConflict, UnknownOutcome):
                self._sleep(min(1.0, 0.02 * 2**tried) * (0.5 + self._jitter()))
        raise CommitConflict("expiry lost to other commits each time; run it again later")


def _remove(table: Table, files: list[DataFile]) -> None:
    with translated():
        for file in files:
            table.io.delete(file.file_path)


def _left_out(table: Table, spec: TableSpec, manifests: Manifests) -> str:
    if not knows_all_columns(table, spec):
        return "its columns are not those that this serpline knows: compact it by OPTIMIZE in Athena"
    if manifests.live_files(table).foreign:
        return "it holds deletes in a form that only Athena reads: compact it by OPTIMIZE there"
    return ""


def _facts(file: DataFile, live: LiveFiles) -> FileFacts:
    cut = bool(live.deletes_of(file.file_path))
    return FileFacts(file.file_path, file.file_size_in_bytes, file.record_count, cut)
