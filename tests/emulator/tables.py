"""The system's tables, read by somebody else: pyiceberg's own Glue catalog, and DuckDB over what it gives."""

from __future__ import annotations

from typing import Any

import duckdb
from pyiceberg.catalog.glue import GlueCatalog

from pipeline.query.functions import MACROS
from stages.views import DUCKDB, VIEWS, render
from tests.emulator.emulator import CALLER, REGION

TABLES = ("pages", "shards", "closings")


class Tables:
    """The tables of one Glue database, as they are at each question."""

    def __init__(self, glue: Any, endpoint: str, database: str) -> None:
        self._database = database
        self._catalog = GlueCatalog(
            "tests",
            glue,
            **{
                "s3.endpoint": endpoint,
                "s3.region": REGION,
                "s3.access-key-id": CALLER,
                "s3.secret-access-key": "test",
                "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
            },
        )

    def table(self, name: str) -> Any:
        """One table, as pyiceberg has it."""
        return self._catalog.load_table((self._database, name))

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows that a query in DuckDB's SQL gives."""
        connection = duckdb.connect(config={"integer_division": "true"})
        try:
            for signature, body in MACROS.items():
                connection.execute(f"CREATE MACRO {signature} AS {body}")
            for name in TABLES:
                connection.register(name, self.table(name).scan().to_arrow())
            for view in VIEWS:
                connection.execute(f"CREATE VIEW {view.name} AS {render(view, DUCKDB)}")
            return connection.execute(sql).fetchall()
        finally:
            connection.close()
