"""Iceberg tables through pyiceberg: made, opened, written to and looked into; its errors end here."""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pyarrow as pa
from pyarrow.parquet import FileMetaData
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, TableAlreadyExistsError
from pyiceberg.expressions import And, BooleanExpression, EqualTo, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    pyarrow_to_schema,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionField, PartitionFieldValue, PartitionKey, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import (
    CatalogUnavailable,
    CommitConflict,
    Misuse,
    Permanent,
    PipelineError,
    StorageUnavailable,
)
from stages.aggregate import write_parquet
from stages.tables import SCHEMA_VERSION, TableSpec

_Made = TypeVar("_Made")

NAMESPACE = "serpline"
RACES = 5
"""Times that making a catalog or table is tried again because another process makes it too."""

VERSION_PROPERTY = "serpline.schema-version"

_PROPERTIES = {
    "format-version": "2",
    # The library's own retry would append on a newer snapshot than the one that was looked at.
    "commit.retry.num-retries": "0",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    VERSION_PROPERTY: str(SCHEMA_VERSION),
}


def open_folder_catalog(lake: Path) -> Catalog:
    """The catalog of a lake on this machine: SQLite beside the tables' folder.

    Raises ``Misuse`` for a path that cannot be written as a location of a table.
    """
    if {"#", "?"} & set(str(lake)):
        raise Misuse(f"the lake's path {lake} has a # or ?, which the tables' locations cannot hold")
    with translated():
        lake.mkdir(parents=True, exist_ok=True)
        location = URL.create("sqlite", database=str(lake / "catalog.sqlite3")).render_as_string()
        # Not as a percent-encoded URI: the library takes the path literally.
        warehouse = f"file://{lake / 'tables'}"
        return raced(lambda: SqlCatalog(NAMESPACE, uri=location, warehouse=warehouse))


def raced(make: Callable[[], _Made]) -> _Made:
    """Make what several processes may be making at this moment; whoever lost the race finds it made."""
    for tried in range(RACES):
        try:
            return make()
        except SQLAlchemyError:
            time.sleep(0.05 * 2**tried)
    return make()


def open_table(catalog: Catalog, spec: TableSpec) -> Table:
    """The table, made where it does not exist. Raises ``Permanent`` for one that is newer than this code."""
    name = (NAMESPACE, spec.name)
    if not catalog.table_exists(name):
        schema = pyarrow_to_schema(spec.schema)
        with suppress(TableAlreadyExistsError):
            catalog.create_table(
                name, schema, partition_spec=_partition_spec(schema, spec), properties=_PROPERTIES
            )
    table = catalog.load_table(name)
    version = int(table.properties.get(VERSION_PROPERTY, "1"))
    if version > SCHEMA_VERSION:
        raise Permanent(
            f"table {spec.name} has version {version}, this code knows {SCHEMA_VERSION}: use a newer serpline"
        )
    return table


def knows_all_columns(table: Table, spec: TableSpec) -> bool:
    """Whether the table's columns are exactly those of this code, so that a rewrite loses none."""

    def columns(schema: Schema) -> list[tuple[int, str, str]]:
        return [(field.field_id, field.name, str(field.field_type)) for field in schema.fields]

    return columns(table.schema()) == columns(pyarrow_to_schema(spec.schema))


def _partition_spec(schema: Schema, spec: TableSpec) -> PartitionSpec:
    return PartitionSpec(
        *(
            PartitionField(schema.find_field(name).field_id, 1000 + at, IdentityTransform(), name)
            for at, name in enumerate(spec.partition)
        )
    )


def write_data_file(
    table: Table, spec: TableSpec, rows: pa.Table, partition: tuple[Any, ...], sort: Sequence[str] = ()
) -> DataFile:
    """Write one Parquet file into the table's folder and describe it; no snapshot names it yet."""
    key = PartitionKey(
        [
            PartitionFieldValue(field, value)
            for field, value in zip(table.spec().fields, partition, strict=True)
        ],
        table.spec(),
        table.schema(),
    )
    path = new_data_path(table, key.to_path())
    output = table.io.new_output(path)
    with output.create() as sink:
        metadata = write_parquet(rows, spec.schema, sink, sort)
    return describe_data_file(table, path, len(output), metadata, key.partition)


def new_data_path(table: Table, folder: str) -> str:
    """Where a new data file of a partition goes; ``folder`` is what the partition is called."""
    return f"{table.location()}/data/{folder}/{uuid4()}.parquet"


def describe_data_file(
    table: Table, path: str, size: int, metadata: FileMetaData, partition: Record
) -> DataFile:
    """What a snapshot says of a Parquet file that was written."""
    schema = table.schema()
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=metadata,
        stats_columns=compute_statistics_plan(schema, table.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=partition,
        file_size_in_bytes=size,
        sort_order_id=None,
        spec_id=table.metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def equal(column: str, value: str | int) -> BooleanExpression:
    """Rows whose column has this value."""
    # The expressions' types describe their JSON form, not how they are made.
    return EqualTo(column, value)  # type: ignore[call-arg, arg-type]


def between(column: str, least: int, most: int) -> BooleanExpression:
    """Rows whose column is within these bounds, both included."""
    return And(GreaterThanOrEqual(column, least), LessThanOrEqual(column, most))  # type: ignore[call-arg, arg-type]


def _batches(table: Table, where: BooleanExpression, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    yield from table.scan(row_filter=where, selected_fields=columns).to_arrow_batch_reader()


def count_rows(table: Table, where: BooleanExpression, columns: tuple[str, ...]) -> Counter[tuple[Any, ...]]:
    """The distinct rows of some columns with their counts, streamed."""
    counts: Counter[tuple[Any, ...]] = Counter()
    for batch in _batches(table, where, columns):
        grouped = pa.Table.from_batches([batch]).group_by(list(columns)).aggregate([([], "count_all")])
        names = [*columns, "count_all"]
        for *values, count in zip(*(grouped[name].to_pylist() for name in names), strict=True):
            counts[tuple(values)] += count
    return counts


@contextmanager
def translated() -> Iterator[None]:
    """The boundary: errors of pyiceberg, its catalog and its files leave as ``PipelineError``."""
    try:
        yield
    except PipelineError:
        raise
    except CommitFailedException as error:
        raise CommitConflict(str(error)) from error
    except SQLAlchemyError as error:
        raise CatalogUnavailable(
            f"the catalog did not answer: {error.__class__.__name__}: {error}"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise StorageUnavailable("the disk of the tables is full: make room and run again") from error
        raise StorageUnavailable(f"the tables' storage failed: {error}") from error
