"""A lake opened for questions: DuckDB over the live files, locked, with the views on top."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import Misuse, StorageUnavailable
from pipeline.query.dialect import Names, translate, unknown_table
from pipeline.query.functions import MACROS
from pipeline.query.interruption import interruptible
from pipeline.query.live import LiveTable, live_tables, names_of, select, views_over
from stages.views import DUCKDB, render

ROWS_A_CHUNK = 2_048

SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # Otherwise the name of a Python variable is a table.
    "python_enable_replacements": "false",
    # As in Trino: 7 / 2 is 3.
    "integer_division": "true",
}

_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
_PREFIX = re.compile(r"^(?:[A-Z][A-Za-z]* )+?Error: ")
_TABLE = re.compile(r"Table with name (\S+) does not exist")


class Column(msgspec.Struct, frozen=True):
    """A column of an answer, with its type as DuckDB names it, in lower case."""

    name: str
    type: str


class Answer:
    """The rows of one query, read once, as they are made. Raises ``Misuse`` where a row cannot be.

    ``read`` asks for the next of them; where making them heeds no Ctrl-C it is given as one that does.
    """

    def __init__(
        self,
        columns: tuple[Column, ...],
        reader: pa.RecordBatchReader,
        read: Callable[[Callable[[], pa.RecordBatch]], pa.RecordBatch] = lambda next_batch: next_batch(),
    ) -> None:
        self.columns = columns
        self._reader = reader
        self._read = read
        self.schema = pa.schema(
            [
                pa.field(column.name, _arrow_type(column, field.type))
                for column, field in zip(columns, reader.schema, strict=True)
            ]
        )

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as Arrow, of ``schema``."""
        while True:
            with in_one_line(None):
                try:
                    batch = self._read(self._reader.read_next_batch)
                except StopIteration:
                    return
                arrays = [
                    _fitted(array, field) for array, field in zip(batch.columns, self.schema, strict=True)
                ]
            yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def chunks(self) -> Iterator[list[tuple[Any, ...]]]:
        """The rows as Python values, up to ``ROWS_A_CHUNK`` at once."""
        for batch in self.batches():
            yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


class Lake:
    """The tables and views of a lake's folder, as its current snapshots are. Use it in a ``with``.

    Opening raises ``Misuse`` where no lake is there. A query reads the lake's files and nothing else.
    """

    def __init__(self, folder: Path) -> None:
        tables = live_tables(folder)
        self.names = names_of(tables)
        # A large sort or join goes to disk; a lake may be on a disk that is read-only.
        self._spill = Path(tempfile.mkdtemp(prefix="serpline-query-"))
        try:
            self._connection = duckdb.connect(config=SETTINGS)
            with in_one_line(self.names):
                self._prepare(tables)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the files and the memory; answers that were not read to their end are lost."""
        with suppress(AttributeError):
            self._connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def ask(self, sql: str) -> Answer:
        """The answer to one query in Athena's SQL.

        Raises ``Misuse``, in one line, for what is no reading query, for unknown names and types
        that do not fit, and ``StorageUnavailable`` where files went away under the query.
        """
        asked = translate(sql, self.names)
        # A cursor of its own: an answer that is still being read does not stand in the way.
        cursor = self._connection.cursor()
        with in_one_line(self.names):
            statements = cursor.extract_statements(asked.sql)
            if len(statements) != 1 or statements[0].type not in _READING:
                raise Misuse("a query may only read: start it with SELECT, WITH or VALUES")
            obedient = partial(interruptible, interrupt=cursor.interrupt)
            if asked.plan:
                rows = obedient(lambda: cursor.execute(asked.sql).fetchall())
                plan = pa.table({"plan": pa.array([str(row[-1]) for row in rows], pa.string())})
                return Answer((Column("plan", "varchar"),), plan.to_reader())
            relation = cursor.sql(asked.sql)
            columns = tuple(
                Column(name, str(kind).lower())
                for name, kind in zip(relation.columns, relation.types, strict=True)
            )
            return Answer(columns, obedient(lambda: relation.to_arrow_reader(ROWS_A_CHUNK)), obedient)

    def _prepare(self, tables: tuple[LiveTable, ...]) -> None:
        run = self._connection.execute
        run("SET GLOBAL TimeZone = 'UTC'")
        run(f"SET temp_directory = {_text(str(self._spill))}")
        for signature, body in MACROS.items():
            run(f"CREATE MACRO {signature} AS {body}")
        # From here on DuckDB opens these files and no others, and nothing can change that.
        paths = sorted(path for table in tables for path in table.paths)
        run(f"SET allowed_paths = [{', '.join(_text(path) for path in paths)}]")
        run("SET enable_external_access = false")
        run("SET lock_configuration = true")
        for table in tables:
            run(f"CREATE VIEW {table.name} AS {select(table)}")
        for view in views_over(tables):
            run(f"CREATE VIEW {view.name} AS {render(view, DUCKDB)}")


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _arrow_type(column: Column, kind: pa.DataType) -> pa.DataType:
    # Trino's sums of integers are bigint; DuckDB's are wider than Parquet and JSON know.
    if column.type in ("hugeint", "uhugeint"):
        return pa.int64()
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _fitted(array: pa.Array[Any], field: pa.Field[Any]) -> pa.Array[Any]:
    try:
        return array if array.type == field.type else pc.cast(array, field.type)
    except pa.ArrowInvalid as error:
        raise Misuse(f"{field.name} is beyond a bigint: CAST it to double before it is summed") from error


@contextmanager
def in_one_line(names: Names | None) -> Iterator[None]:
    """Turn what DuckDB raises, and what comes from it through Arrow, into one line that says what to do."""
    try:
        yield
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        raise _told(error, names) from error


def _told(error: Exception, names: Names | None) -> Misuse | StorageUnavailable:
    text = str(error)
    # DuckDB shows its own SQL below an empty line: not what the user wrote.
    line = " ".join(_PREFIX.sub("", text.split("\n\nLINE ", maxsplit=1)[0]).split())
    missing = _TABLE.search(text)
    if missing is not None and names is not None:
        return unknown_table(missing[1], names)
    # A file that is gone is looked for as a folder, and folders are not allowed.
    gone = isinstance(error, duckdb.IOException) or text.startswith("IO Error") or ".parquet/**" in text
    if isinstance(error, duckdb.PermissionException) and not gone:
        return Misuse(f"a query reads the lake's tables and nothing else: {line}")
    if isinstance(error, duckdb.OutOfMemoryException) or text.startswith("Out of Memory"):
        return Misuse("the answer needs more memory or disk than there is: narrow it by run_date or source")
    if gone:
        return StorageUnavailable(f"a file of the lake went away or cannot be read; ask again: {line}")
    return Misuse(f"the query does not work: {line}")
