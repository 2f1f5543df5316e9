"""``serpline query``: SQL over the tables of a lake."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import Misuse
from pipeline.settings import Settings

SHOWN = 100
"""Rows of a printed table; the other formats give every row."""

PIPED = 10_000
"""Characters of a table's line that is no terminal's."""


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "query",
        parents=[common],
        help="SQL, as for Athena, over the tables of a lake",
        description="SQL in Athena's dialect over tables and views of a lake; docs/query.md has a cookbook.",
    )
    parser.add_argument("sql", metavar="SQL")
    parser.add_argument("--lake", type=Path, metavar="DIR", help="the folder of tables and runs")
    parser.add_argument("--format", choices=("table", "csv", "json", "parquet"), default="table")
    parser.set_defaults(command=query)


def query(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run one query and write its answer to standard output."""
    # DuckDB and sqlglot take half a second to import; only this command needs them.
    from pipeline.query import Lake, write_table  # noqa: PLC0415
    from pipeline.query.formats import WRITERS  # noqa: PLC0415

    if arguments.format == "parquet" and sys.stdout.isatty():
        raise Misuse("Parquet is no text for a terminal: send it to a file with > FILE")
    lake = arguments.lake if arguments.lake is not None else Path(settings.lake)
    with Lake(lake) as opened:
        answer = opened.ask(arguments.sql)
        if arguments.format == "table":
            # Whoever reads a pipe wants whole values; a terminal has a width.
            write_table(answer, sys.stdout, most=SHOWN, width=None if sys.stdout.isatty() else PIPED)
        else:
            WRITERS[arguments.format](answer, sys.stdout.buffer)
    return 0
