"""Data files that a table names now, and the commit that puts new ones in the place of named ones.

The look and the replacement stand on one snapshot. Manifests never change, so each is read once:
that makes the time from look to commit short enough to land between the appends of others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from pyiceberg.exceptions import ValidationException
from pyiceberg.io import FileIO
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriter,
    ManifestWriterV2,
)
from pyiceberg.table import Table
from pyiceberg.table.delete_file_index import DeleteFileIndex
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _OverwriteFiles

from pipeline.quick_transaction import QuickTransaction

_NO_DELETES: frozenset[str] = frozenset()


class LiveFiles(msgspec.Struct, frozen=True):
    """What one snapshot names: data files by address, and the position deletes that apply to them.

    ``foreign`` says that it also holds deletes in a form that pyiceberg cannot apply.
    """

    data: Mapping[str, DataFile]
    deletes: Mapping[str, frozenset[str]]
    delete_files: Mapping[str, DataFile]
    foreign: bool

    def deletes_of(self, address: str) -> frozenset[str]:
        """The files that delete rows of this one."""
        return self.deletes.get(address, _NO_DELETES)

    def still(self, named: Mapping[str, frozenset[str]]) -> bool:
        """Whether every named file is still there, with the same deletes and no other."""
        return not self.foreign and all(
            address in self.data and self.deletes_of(address) == deletes for address, deletes in named.items()
        )

    def idle(self, gone: Collection[str]) -> list[DataFile]:
        """The delete files that applied to these files and apply to no other."""
        used = {one for address, deletes in self.deletes.items() if address not in gone for one in deletes}
        applied = {one for address in gone for one in self.deletes_of(address)}
        return [self.delete_files[one] for one in sorted(applied - used)]


class Manifests:
    """The entries of a table's manifests, read once; statistics of data files are left out."""

    def __init__(self) -> None:
        self._entries: dict[str, list[ManifestEntry]] = {}

    def live_files(self, table: Table) -> LiveFiles:
        """What the table's current snapshot names."""
        snapshot = table.current_snapshot()
        manifests = snapshot.manifests(table.io) if snapshot is not None else []
        known = {manifest.manifest_path for manifest in manifests}
        self._entries = {path: entries for path, entries in self._entries.items() if path in known}
        entries = [entry for manifest in manifests for entry in self.entries(manifest, table.io)]
        index = DeleteFileIndex()
        delete_files = {}
        foreign = False
        for entry in entries:
            file = entry.data_file
            if file.content == DataFileContent.POSITION_DELETES and file.file_format == FileFormat.PARQUET:
                index.add_delete_file(entry, file.partition)
                delete_files[file.file_path] = file
            elif file.content != DataFileContent.DATA:
                foreign = True
        data, deletes = {}, {}
        for entry in entries:
            file = entry.data_file
            if file.content == DataFileContent.DATA:
                data[file.file_path] = file
                found = index.for_data_file(entry.sequence_number or 0, file, file.partition)
                if found:
                    deletes[file.file_path] = frozenset(one.file_path for one in found)
        return LiveFiles(data, deletes, delete_files, foreign)

    def entries(self, manifest: ManifestFile, io: FileIO) -> list[ManifestEntry]:
        """The files that a manifest names as live."""
        if manifest.manifest_path not in self._entries:
            entries = manifest.fetch_manifest_entry(io, discard_deleted=True)
            for entry in entries:
                if entry.data_file.content == DataFileContent.DATA:
                    entry.data_file = _slim(entry.data_file)
            self._entries[manifest.manifest_path] = entries
        return self._entries[manifest.manifest_path]


def _slim(file: DataFile) -> DataFile:
    """A data file without its statistics: they take ten times its memory."""
    slim = DataFile.from_args(
        content=file.content,
        file_path=file.file_path,
        file_format=file.file_format,
        partition=file.partition,
        record_count=file.record_count,
        file_size_in_bytes=file.file_size_in_bytes,
        sort_order_id=file.sort_order_id,
        equality_ids=None,
        key_metadata=file.key_metadata,
    )
    slim.spec_id = file.spec_id
    return slim


class Replacement(_OverwriteFiles):
    """The replacement of named data files, and of delete files that are of no use after it.

    The library's own overwrite reads every manifest of the partition twice for each commit, and
    takes no delete file out.
    """

    def __init__(self, table: Table, manifests: Manifests) -> None:
        super().__init__(operation=Operation.OVERWRITE, transaction=QuickTransaction(table), io=table.io)
        self._known = manifests

    def run(self, old: Collection[DataFile], new: Collection[DataFile]) -> None:
        """Commit. Raises what the library raises; ``CommitFailedException`` where another came first."""
        for file in old:
            self.delete_data_file(file)
        for file in new:
            self.append_data_file(file)
        self.commit()
        self._transaction.commit_transaction()

    def _parents(self) -> list[ManifestFile]:
        snapshot = self._transaction.table_metadata.snapshot_by_name(self._target_branch)
        return snapshot.manifests(self._io) if snapshot is not None else []

    def _going(self, manifest: ManifestFile) -> list[ManifestEntry]:
        entries = self._known.entries(manifest, self._io)
        return [entry for entry in entries if entry.data_file in self._deleted_data_files]

    def _deleted_entries(self) -> list[ManifestEntry]:
        """The data files that go; what is missing fails here."""
        going = [entry for manifest in self._parents() for entry in self._going(manifest)]
        found = {entry.data_file for entry in going}
        missing = sorted(file.file_path for file in self._deleted_data_files - found)
        if missing:
            raise ValidationException(f"Missing required files to delete: {', '.join(missing)}")
        return [
            self._with_status(entry, ManifestEntryStatus.DELETED)
            for entry in going
            if entry.data_file.content == DataFileContent.DATA
        ]

    def _existing_manifests(self) -> list[ManifestFile]:
        """Every other file, in its manifest where that is untouched, else in a new one."""
        kept = []
        for manifest in self._parents():
            going = self._going(manifest)
            deletes = manifest.content == ManifestContent.DELETES
            if not going:
                if self._known.entries(manifest, self._io):
                    kept.append(manifest)
                continue
            if len(going) == len(self._known.entries(manifest, self._io)) and not deletes:
                continue
            with self._writer(manifest) as writer:
                for entry in manifest.fetch_manifest_entry(self._io, discard_deleted=True):
                    gone = entry.data_file in self._deleted_data_files
                    if gone and not deletes:
                        # A data file that goes is told in a manifest of its own, with all the others.
                        continue
                    status = ManifestEntryStatus.DELETED if gone else ManifestEntryStatus.EXISTING
                    writer.add_entry(self._with_status(entry, status))
            kept.append(writer.to_manifest_file())
        return kept

    def _writer(self, manifest: ManifestFile) -> ManifestWriter:
        spec = self.spec(manifest.partition_spec_id)
        if manifest.content == ManifestContent.DATA:
            return self.new_manifest_writer(spec)
        output = self.new_manifest_output()
        return _DeleteManifest(spec, self.schema(), output, self._snapshot_id, self._compression)

    def _with_status(self, entry: ManifestEntry, status: ManifestEntryStatus) -> ManifestEntry:
        gone = status == ManifestEntryStatus.DELETED
        return ManifestEntry.from_args(
            status=status,
            snapshot_id=self._snapshot_id if gone else entry.snapshot_id,
            sequence_number=entry.sequence_number,
            file_sequence_number=entry.file_sequence_number,
            data_file=entry.data_file,
        )


class _DeleteManifest(ManifestWriterV2):
    """A manifest of delete files, which the library reads and does not write."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}
