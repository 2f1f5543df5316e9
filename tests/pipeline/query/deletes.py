"""Position deletes as Athena's DELETE and MERGE commit them; pyiceberg reads such files and writes none."""

from __future__ import annotations

from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestContent, ManifestWriterV2
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles

# The field ids are Iceberg's own (the specification's reserved ids).
_SCHEMA = pa.schema(
    [
        pa.field("file_path", pa.string(), nullable=False, metadata={"PARQUET:field_id": "2147483546"}),
        pa.field("pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": "2147483545"}),
    ]
)


class _DeleteManifest(ManifestWriterV2):
    """A manifest of delete files."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


class _AddDeletes(_FastAppendFiles):
    """A snapshot that adds delete files and leaves everything else."""

    def new_manifest_writer(self, spec: PartitionSpec) -> _DeleteManifest:
        return _DeleteManifest(
            spec, self.schema(), self.new_manifest_output(), self._snapshot_id, self._compression
        )


def delete_rows(
    table: Table,
    data_file: DataFile,
    places: list[int],
    content: DataFileContent = DataFileContent.POSITION_DELETES,
) -> None:
    """Commit the deletion of the rows at these places of one data file."""
    path = f"{data_file.file_path.rpartition('/')[0]}/deletes-{uuid4()}.parquet"
    output = table.io.new_output(path)
    with output.create() as sink:
        rows = {"file_path": [data_file.file_path] * len(places), "pos": places}
        pq.write_table(pa.table(rows, schema=_SCHEMA), sink)
    deletes = DataFile.from_args(
        content=content,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=data_file.partition,
        record_count=len(places),
        file_size_in_bytes=len(output),
        sort_order_id=None,
        spec_id=data_file.spec_id,
        equality_ids=[10] if content == DataFileContent.EQUALITY_DELETES else None,
        key_metadata=None,
    )
    with (
        table.transaction() as transaction,
        _AddDeletes(operation=Operation.DELETE, transaction=transaction, io=table.io) as update,
    ):
        update.append_data_file(deletes)
