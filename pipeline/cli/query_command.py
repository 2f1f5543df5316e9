"""``serpline query``: SQL over the tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pipeline.errors import Misuse
from pipeline.settings import Settings


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "query", parents=[common], help="SQL, as for Athena, over the tables of a lake"
    )
    parser.add_argument("sql", metavar="SQL")
    parser.add_argument("--lake", type=Path, metavar="DIR")
    parser.set_defaults(command=query)


def query(arguments: argparse.Namespace, settings: Settings) -> int:
    raise Misuse("not yet")
