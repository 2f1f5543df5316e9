"""Old snapshots, and files that no snapshot names: what may go, and its going."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AssertRefSnapshotId
from pyiceberg.table.update.snapshot import ExpireSnapshots

from pipeline.errors import CommitConflict
from pipeline.iceberg import stored_files
from pipeline.quick_transaction import QuickTransaction

REMOVED_AT_ONCE = 8
"""Files that are removed at the same time: in object storage each waits for some answers."""


class Removed(msgspec.Struct, frozen=True):
    """Files that were removed, and their bytes."""

    files: int = 0
    bytes: int = 0


def expire_snapshots(table: Table, before: float) -> int:
    """Forget the snapshots that ceased to be current before this moment (epoch seconds); gives how many.

    A reader may be at work on a snapshot for as long as it was current and a while after, however
    long ago it was made. Raises ``CommitConflict`` where another commit came first.
    """
    metadata = table.metadata
    ids = expired_snapshots(metadata, int(before * 1000))
    if not ids:
        return 0
    update = ExpireSnapshots(QuickTransaction(table, autocommit=True))
    # Named one by one the library looks at all metadata twice for each, to say what is known here already.
    update._snapshot_ids_to_expire = set(ids)  # noqa: SLF001
    # The library asks for nothing: after somebody's rollback it would forget the current snapshot.
    current = {
        "type": "assert-ref-snapshot-id",
        "ref": MAIN_BRANCH,
        "snapshot-id": metadata.current_snapshot_id,
    }
    update._requirements += (AssertRefSnapshotId.model_validate(current),)  # noqa: SLF001
    try:
        update.commit()
    except ValueError as error:
        raise CommitConflict(f"another process expired the same snapshots: {error}") from error
    return len(ids)


def expired_snapshots(metadata: TableMetadata, before: int) -> list[int]:
    """The snapshots that ceased to be current before this moment, in milliseconds of the epoch."""
    heads = {ref.snapshot_id for ref in metadata.refs.values()} | {metadata.current_snapshot_id}
    # A snapshot ends when another becomes current, or, on a branch, when its child is made.
    ends = {snapshot.snapshot_id: snapshot.timestamp_ms for snapshot in metadata.snapshots}
    for earlier, later in zip(metadata.snapshot_log, metadata.snapshot_log[1:], strict=False):
        if earlier.snapshot_id in ends:
            ends[earlier.snapshot_id] = max(ends[earlier.snapshot_id], later.timestamp_ms)
    for snapshot in metadata.snapshots:
        parent = snapshot.parent_snapshot_id
        if parent in ends:
            ends[parent] = max(ends[parent], snapshot.timestamp_ms)
    return sorted(one for one, end in ends.items() if end < before and one not in heads)


def remove_unnamed(table: Table, before: float) -> Removed:
    """Remove the files in the table's folder that no snapshot names and that are older than this moment.

    A younger one may belong to a commit in flight, which no snapshot names yet. The table is refreshed
    here: files are listed first, so that whatever was committed since is seen as named.
    """
    candidates = _old_files(table, before)
    if not candidates:
        return Removed()
    table.refresh()
    for address in _named(table, candidates):
        candidates.pop(_place(address), None)
        if not candidates:
            break

    def remove(place: str) -> None:
        with suppress(FileNotFoundError):
            table.io.delete(place)

    with ThreadPoolExecutor(REMOVED_AT_ONCE) as several:
        # Every one is waited for, and the first error is raised.
        list(several.map(remove, candidates))
    return Removed(len(candidates), sum(candidates.values()))


def local_folder(table: Table) -> Path | None:
    """The table's folder on this machine, without links; ``None`` if it is elsewhere."""
    scheme, _, folder = PyArrowFileIO.parse_location(table.location())
    return Path(folder).resolve() if scheme == "file" else None


def _old_files(table: Table, before: float) -> dict[str, int]:
    """Places of files with their bytes."""
    folder = local_folder(table)
    if folder is None:
        files = stored_files(table.io, table.location())
        return {_place(file.address): file.size for file in files if file.modified < before}
    found: dict[str, int] = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            try:
                state = path.lstat()
            except FileNotFoundError:
                continue
            if state.st_mtime < before:
                found[_place(str(path))] = state.st_size
    return found


def _place(address: str) -> str:
    """The one name of a file, however the lake was called when the file was written."""
    scheme, found, key = address.partition("://")
    if found and scheme != "file":
        # A key is taken as it is: a mark that an address gives a meaning may be part of it.
        return f"s3://{key}" if scheme in ("s3a", "s3n") else address
    path = Path(PyArrowFileIO.parse_location(address)[2])
    return str(path.parent.resolve() / path.name)


def _named(table: Table, wanted: dict[str, int]) -> Iterator[str]:
    """Every file that the table's metadata lead to; it may end early once nothing is wanted."""
    metadata = table.metadata
    yield table.metadata_location
    yield from (entry.metadata_file for entry in metadata.metadata_log)
    yield from (one.statistics_path for one in metadata.statistics)
    yield from (one.statistics_path for one in metadata.partition_statistics)
    seen: set[str] = set()
    # The newest first: it names nearly everything.
    for snapshot in sorted(metadata.snapshots, key=lambda one: one.timestamp_ms, reverse=True):
        yield from _named_by(snapshot, table, seen)
        if not wanted:
            return


def _named_by(snapshot: Snapshot, table: Table, seen: set[str]) -> Iterator[str]:
    yield snapshot.manifest_list
    for manifest in snapshot.manifests(table.io):
        if manifest.manifest_path in seen:
            continue
        seen.add(manifest.manifest_path)
        yield manifest.manifest_path
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            yield entry.data_file.file_path
