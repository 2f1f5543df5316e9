"""A reader of Iceberg tables that shares no code with ours: DuckDB's own extension, in its own environment.

A program for the interpreter of that environment (``build/reader``, from ``requirements/reader.txt``): it is
given the address of a table's metadata and SQL over ``t``, and prints the rows, each as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import duckdb

# Iceberg's manifests are Avro.
EXTENSIONS = ("avro", "iceberg")


def extension(name: str) -> Path:
    """The file of an extension, as its package holds it."""
    spec = find_spec(f"duckdb_extension_{name}")
    assert spec is not None
    assert spec.origin is not None
    [found] = Path(spec.origin).parent.rglob(f"{name}.duckdb_extension")
    return found


def answers(metadata: str, sql: str) -> list[str]:
    """The rows of one question, each with its columns by name."""
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
    for name in EXTENSIONS:
        connection.execute(f"LOAD '{extension(name)}'")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"CREATE VIEW t AS SELECT * FROM iceberg_scan('{metadata}')")  # noqa: S608  # a test's own
    found = connection.execute(sql)
    names = [column[0] for column in found.description]
    return [line(dict(zip(names, row, strict=True))) for row in found.fetchall()]


def line(row: dict[str, object]) -> str:
    """A row as text, alike for everyone who reads it."""
    return json.dumps(row, default=str, sort_keys=True, ensure_ascii=False)


if __name__ == "__main__":
    print("\n".join(answers(*sys.argv[1:])))  # noqa: T201  # what a program gives is what it prints
