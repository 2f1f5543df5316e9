"""The live files of a lake's tables: what the current snapshots name, and DuckDB's SELECT over them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.io.pyarrow import PyArrowFileIO, pyarrow_to_schema
from pyiceberg.manifest import FileFormat
from pyiceberg.table import Table
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from pipeline.errors import Misuse
from pipeline.iceberg import open_folder_catalog, translated
from pipeline.query.dialect import Names
from pipeline.table_schema import readable_columns
from stages.measure_views import MEASURE_VIEWS
from stages.tables import EVERY_TABLE, LATER, MEASUREMENTS, TABLES, TableSpec
from stages.views import VIEWS, View

_CATALOG_FILE = "catalog.sqlite3"
_GONE = "_gone_file"
"""The column that says which file a row came from, where some of its rows were deleted."""

_TYPES: dict[type[IcebergType], str] = {
    BinaryType: "BLOB",
    BooleanType: "BOOLEAN",
    DateType: "DATE",
    DoubleType: "DOUBLE",
    FixedType: "BLOB",
    FloatType: "FLOAT",
    IntegerType: "INTEGER",
    LongType: "BIGINT",
    StringType: "VARCHAR",
    TimeType: "TIME",
    TimestampType: "TIMESTAMP",
    TimestamptzType: "TIMESTAMPTZ",
    UUIDType: "UUID",
}


class LiveColumn(msgspec.Struct, frozen=True):
    """A column: the id by which files are read, its name now, and its DuckDB type."""

    field_id: int
    name: str
    type: str


class LiveFile(msgspec.Struct, frozen=True):
    """A data file: the address that the catalog knows, its path, and the files that delete its rows."""

    address: str
    path: str
    deletes: tuple[str, ...] = ()


class LiveTable(msgspec.Struct, frozen=True):
    """A table as its current snapshot is."""

    name: str
    columns: tuple[LiveColumn, ...]
    files: tuple[LiveFile, ...]

    @property
    def paths(self) -> set[str]:
        """Every file that reading it opens; under both its names, since DuckDB asks for both."""
        paths = {path for file in self.files for path in (file.path, *file.deletes)}
        return paths | {_no_pattern(path) for path in paths}


def live_tables(folder: Path) -> tuple[LiveTable, ...]:
    """The tables of the lake in a folder, as they are now; that of measurements where it has one.

    Raises ``Misuse`` where no lake is there or it cannot be read here, and what ``translated`` says.
    """
    folder = folder.absolute()
    if not (folder / _CATALOG_FILE).is_file():
        raise Misuse(f"no lake at {folder}: run `serpline run FILE` first")
    with translated(), closing(open_folder_catalog(folder)) as catalog:
        measured = catalog.table_exists((catalog.name, MEASUREMENTS.name))
        specs = EVERY_TABLE if measured else TABLES
        return tuple(_live_table(catalog, folder, spec) for spec in specs)


def views_over(tables: tuple[LiveTable, ...]) -> tuple[View, ...]:
    """The views that these tables have, in the order in which they build on each other."""
    measured = any(table.name == MEASUREMENTS.name for table in tables)
    return (*VIEWS, *MEASURE_VIEWS) if measured else VIEWS


def names_of(tables: tuple[LiveTable, ...]) -> Names:
    """What a query over these tables may name."""
    return Names(tuple(table.name for table in tables), tuple(view.name for view in views_over(tables)))


def select(table: LiveTable) -> str:
    """The table's rows as DuckDB reads them: columns by id, what older files lack as NULL."""
    names = ", ".join(_name(column.name) for column in table.columns)
    whole = [file.path for file in table.files if not file.deletes]
    cut = [file for file in table.files if file.deletes]
    parts = []
    if whole or not cut:
        parts.append(f"SELECT {names} FROM {_read(table, whole)}")  # noqa: S608  # quoted
    if cut:
        # Iceberg names a file by its address, DuckDB by its path; a row by its place in the file.
        files = ", ".join(f"({_text(file.address)}, {_text(file.path)})" for file in cut)
        deletes = _list(sorted({path for file in cut for path in file.deletes}))
        parts.append(
            f"SELECT {names} FROM {_read(table, [file.path for file in cut], places=True)} AS rows_ "  # noqa: S608  # quoted
            f"ANTI JOIN (SELECT files_.path, deletes_.pos FROM read_parquet({deletes}, union_by_name=true, "
            f"hive_partitioning=false) AS deletes_ JOIN (VALUES {files}) AS files_ (address, path) "
            f"ON files_.address = deletes_.file_path) AS deleted_ "
            f"ON deleted_.path = rows_.{_GONE} AND deleted_.pos = rows_.file_row_number"
        )
    return " UNION ALL ".join(parts)


def _empty_table(spec: TableSpec) -> LiveTable:
    """A table as it will be made, without a row."""
    fields = pyarrow_to_schema(spec.schema).fields
    columns = (LiveColumn(one.field_id, one.name, duckdb_type(one.field_type)) for one in fields)
    return LiveTable(spec.name, tuple(columns), ())


def _live_table(catalog: Catalog, folder: Path, spec: TableSpec) -> LiveTable:
    name = spec.name
    try:
        table = catalog.load_table((catalog.name, name))
        columns = tuple(
            LiveColumn(field.field_id, field.name, duckdb_type(field.field_type))
            for field in readable_columns(table, spec)
        )
        return LiveTable(name, columns, _live_files(table))
    except (NoSuchTableError, NoSuchNamespaceError) as error:
        if spec in LATER:
            return _empty_table(spec)
        raise Misuse(
            f"the lake at {folder} has no table {name} yet: run `serpline run FILE` first"
        ) from error
    except FileNotFoundError as error:
        raise Misuse(
            f"the lake at {folder} names files elsewhere; was its folder moved? Move it back: {error}"
        ) from error


def _live_files(table: Table) -> tuple[LiveFile, ...]:
    foreign = Misuse(f"{table.name()[-1]} holds deletes in a form that only Athena reads: ask there")
    try:
        tasks = list(table.scan().plan_files())
    except ValueError as error:
        # pyiceberg plans no table with deletes by value, which some engines write.
        raise foreign from error
    files = []
    for task in tasks:
        if any(delete.file_format != FileFormat.PARQUET for delete in task.delete_files):
            raise foreign
        deletes = tuple(sorted(_path(delete.file_path) for delete in task.delete_files))
        files.append(LiveFile(task.file.file_path, _path(task.file.file_path), deletes))
    return tuple(files)


def _path(address: str) -> str:
    """The path of a file's address, as pyiceberg wrote it."""
    return PyArrowFileIO.parse_location(address)[2]


def duckdb_type(kind: IcebergType) -> str:
    """A column's type in DuckDB's words. Raises ``Misuse`` for one that this code does not know."""
    if isinstance(kind, ListType):
        return f"{duckdb_type(kind.element_type)}[]"
    if isinstance(kind, MapType):
        return f"MAP({duckdb_type(kind.key_type)}, {duckdb_type(kind.value_type)})"
    if isinstance(kind, StructType):
        fields = (f"{_name(field.name)} {duckdb_type(field.field_type)}" for field in kind.fields)
        return f"STRUCT({', '.join(fields)})"
    if isinstance(kind, DecimalType):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if type(kind) not in _TYPES:
        raise Misuse(f"the lake has a column of type {kind}: use a newer serpline")
    return _TYPES[type(kind)]


def _read(table: LiveTable, paths: list[str], *, places: bool = False) -> str:
    if not paths:
        values = ", ".join(f"CAST(NULL AS {column.type}) AS {_name(column.name)}" for column in table.columns)
        return f"(SELECT {values} WHERE false)"
    columns = ", ".join(
        f"{column.field_id}: {{name: {_text(column.name)}, type: {_text(column.type)}, default_value: NULL}}"
        for column in table.columns
    )
    # The columns stand in the files too: what the folders' names say is not read.
    options = f"schema=MAP{{{columns}}}, hive_partitioning=false"
    if places:
        options += f", filename='{_GONE}', file_row_number=true"
    return f"read_parquet({_list(paths)}, {options})"


def _list(paths: list[str]) -> str:
    return f"[{', '.join(_text(_no_pattern(path)) for path in paths)}]"


def _no_pattern(path: str) -> str:
    """A path that DuckDB takes for itself and not for a pattern."""
    return "".join(f"[{mark}]" if mark in "[*?" else mark for mark in path)


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
