"""Iceberg tables through pyiceberg: made, opened, written to and looked into; its errors end here."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
import pyarrow as pa
from pyarrow.fs import FileSelector, FileType
from pyarrow.parquet import FileMetaData
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.expressions import And, BooleanExpression, EqualTo, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import (
    ArrowScan,
    PyArrowFileIO,
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    pyarrow_to_schema,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table
from pyiceberg.typedef import Record

from pipeline.disk_errors import of_disk, of_sqlite
from pipeline.errors import CatalogUnavailable, CommitConflict, PipelineError
from pipeline.table_schema import VERSION_PROPERTY, create_table, migrate, version_of
from stages.aggregate import write_parquet
from stages.tables import SCHEMA_VERSION, TableSpec

_Made = TypeVar("_Made")

NAMESPACE = "serpline"
"""The name of a folder's catalog; every catalog's namespace is called as the catalog itself."""

RACES = 5
"""Times that making or changing a catalog or table is tried again because another process does it too."""

ATTACH = "by `serpline run` on this machine, by `terraform apply` on AWS"
"""How a table whose files are there gets its name in the catalog back."""

PREVIOUS_METADATA = 20
"""Metadata files of a table that are kept beside the newest one."""

_PROPERTIES = {
    "format-version": "2",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": str(PREVIOUS_METADATA),
}

_METADATA_NAME = re.compile(r"(\d+)-[^/]*\.metadata\.json$")


class UnknownOutcome(CatalogUnavailable):
    """A commit without a certain answer: it may be in the table, or come into it yet. The next look tells."""


class StoredFile(msgspec.Struct, frozen=True):
    """A file below a table's location: its address, its bytes, and when it was written (epoch seconds)."""

    address: str
    size: int
    modified: float


def open_folder_catalog(lake: Path) -> Catalog:
    """The catalog of a lake on this machine; see ``pipeline.folder_catalog``."""
    # Functions on AWS carry no SQLAlchemy.
    from pipeline import folder_catalog  # noqa: PLC0415

    return folder_catalog.open_folder_catalog(lake)


def raced(make: Callable[[], _Made]) -> _Made:
    """Make what several processes may be making at this moment; whoever lost the race finds it made."""
    for tried in range(RACES):
        try:
            return make()
        except Exception as error:
            if not _is_of(error, "sqlalchemy"):
                raise
            time.sleep(0.05 * 2**tried)
    return make()


def make_namespace(catalog: Catalog) -> None:
    """Make the tables' namespace where there is none; on AWS there is, and making it takes a permission."""
    if not catalog.namespace_exists(catalog.name):
        with suppress(NamespaceAlreadyExistsError):
            catalog.create_namespace(catalog.name)


def open_table(catalog: Catalog, spec: TableSpec) -> Table:
    """The table, made where it does not exist, with every column of this code.

    Raises ``Permanent`` for one that is newer than this code, ``CatalogUnavailable`` where the catalog
    has no table but its files are there: a new one in the same place would have them removed as unnamed.
    """
    table = find_table(catalog, spec)
    if table is None:
        left = metadata_files(catalog, spec)
        table = find_table(catalog, spec)
        if table is None:
            if left:
                raise CatalogUnavailable(
                    f"catalog {catalog.name} has no table {spec.name}, but its files are there "
                    f"({left[-1]}): attach it, {ATTACH}"
                )
            table = new_table(catalog, spec)
    return _up_to_date(catalog, table, spec)


def find_table(catalog: Catalog, spec: TableSpec) -> Table | None:
    """The table as the catalog names it, whatever its version."""
    try:
        return catalog.load_table((catalog.name, spec.name))
    except NoSuchTableError:
        return None


def new_table(catalog: Catalog, spec: TableSpec) -> Table:
    """The table, made now or by another in the same moment."""
    with suppress(TableAlreadyExistsError, CommitFailedException):
        create_table(catalog, spec, {**_PROPERTIES, VERSION_PROPERTY: str(SCHEMA_VERSION)})
    return catalog.load_table((catalog.name, spec.name))


def _up_to_date(catalog: Catalog, table: Table, spec: TableSpec) -> Table:
    for tried in range(RACES + 1):
        if version_of(table, spec) == SCHEMA_VERSION:
            return table
        with suppress(CommitFailedException):
            migrate(table, spec, SCHEMA_VERSION)
        # Whoever migrated it, or came in between: the next look tells.
        time.sleep(0.05 * 2**tried if tried else 0)
        table = catalog.load_table((catalog.name, spec.name))
    raise CommitConflict(f"table {spec.name} could not be brought up to date for the commits of others")


def table_location(catalog: Catalog, spec: TableSpec) -> str:
    """Where the catalog puts the table's files."""
    given: str = catalog._resolve_table_location(None, catalog.name, spec.name)  # type: ignore[attr-defined]  # noqa: SLF001
    return given


def files_of(catalog: Catalog, location: str) -> FileIO:
    """What reads and writes the catalog's files there."""
    given: FileIO = catalog._load_file_io(location=location)  # noqa: SLF001
    return given


def metadata_files(catalog: Catalog, spec: TableSpec) -> list[str]:
    """The table's metadata files of the highest number; none where nothing was ever committed there."""
    location = table_location(catalog, spec)
    by_number: dict[int, list[str]] = {}
    for file in stored_files(files_of(catalog, location), f"{location}/metadata"):
        name = _METADATA_NAME.search(file.address.rpartition("/")[2])
        if name:
            by_number.setdefault(int(name[1]), []).append(file.address)
    number = max(by_number, default=0)
    return sorted(by_number[number]) if number else []


def stored_files(io: FileIO, location: str) -> Iterator[StoredFile]:
    """Every file below a location, in object storage as in a folder."""
    assert isinstance(io, PyArrowFileIO)  # noqa: S101  # the one that every catalog of ours is given
    scheme, netloc, path = io.parse_location(location)
    for info in io.fs_by_scheme(scheme, netloc).get_file_info(
        FileSelector(path, recursive=True, allow_not_found=True)
    ):
        if info.type == FileType.File:
            yield StoredFile(f"{scheme}://{info.path}", info.size or 0, (info.mtime_ns or 0) / 1e9)


def knows_all_columns(table: Table, spec: TableSpec) -> bool:
    """Whether the table's columns are exactly those of this code, so that a rewrite loses none."""

    def columns(schema: Schema) -> list[tuple[int, str, str]]:
        return [(field.field_id, field.name, str(field.field_type)) for field in schema.fields]

    return columns(table.schema()) == columns(pyarrow_to_schema(spec.schema))


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
    try:
        with output.create() as sink:
            metadata = write_parquet(rows, spec.schema, sink, sort)
    except Exception:
        # Half a file: on a disk that is full it would take the room that is made.
        with suppress(OSError):
            table.io.delete(path)
        raise
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
    """The rows, file by file, each asked only what its partition leaves open of the condition.

    The library would read the columns of the partition too, and compare them row by row: that is half
    of a look-up's time.
    """
    scan = table.scan(row_filter=where, selected_fields=columns)
    open_conditions: dict[str, tuple[BooleanExpression, list[FileScanTask]]] = {}
    for task in scan.plan_files():
        open_conditions.setdefault(repr(task.residual), (task.residual, []))[1].append(task)
    for condition, tasks in open_conditions.values():
        rows = ArrowScan(scan.table_metadata, scan.io, scan.projection(), condition)
        yield from rows.to_record_batches(tasks)


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
    except (NoSuchNamespaceError, NoSuchTableError) as error:
        raise CatalogUnavailable(
            f"the catalog has lost what it must have ({error}): attach it, {ATTACH}; what is queued waits"
        ) from error
    except Exception as error:
        known = _known(error)
        if known is None:
            raise
        raise known from error


def _known(error: Exception) -> PipelineError | None:
    """A driver's error as ours. Drivers are told by name: not every place has every driver."""
    # Some of botocore's are OSErrors too.
    if _is_of(error, "botocore"):
        return _of_glue(error)
    if _is_of(error, "sqlalchemy"):
        return of_sqlite(error)
    if isinstance(error, OSError):
        return of_disk(error, _named(error))
    return None


def _named(error: OSError) -> str:
    """Which file it was, where the error says so; in a bucket it is one of the tables'."""
    return str(error.filename) if error.filename else "the tables"


def _of_glue(error: Exception) -> PipelineError:
    from pipeline.aws_errors import translated as asked  # noqa: PLC0415

    code = code_of(error)
    if code == "ConcurrentModificationException":
        return CommitConflict(str(error))
    if code == "OperationTimeoutException":
        return CatalogUnavailable(f"the Glue catalog took too long: {error}")
    try:
        with asked(CatalogUnavailable, "the Glue catalog"):
            raise error
    except PipelineError as ours:
        return ours


def code_of(error: BaseException | None) -> str:
    """AWS's name for what happened; empty for what did not come from AWS."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def _is_of(error: Exception, driver: str) -> bool:
    return any(kind.__module__.partition(".")[0] == driver for kind in type(error).__mro__)
