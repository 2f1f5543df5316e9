"""``serpline status``: the ledger of a run, while it runs too."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from rich.table import Table

from pipeline.bootstrap import Place
from pipeline.catalog import Tables
from pipeline.cli.place import add_lake, mark_complete, open_lake, open_tables, run_named
from pipeline.cli.screen import STATUSES, console, counts, missing
from pipeline.run_control import said_of
from pipeline.runs import all_runs
from pipeline.settings import Settings

EVERY = 2.0
"""Seconds between looks of ``--watch``."""


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "status", parents=[common], help="the ledger of a run, or every run a line each"
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id, or its beginning")
    add_lake(parser)
    parser.add_argument("--watch", action="store_true", help="look again until the run is complete")
    parser.set_defaults(command=status)


def status(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print one run's ledger (0 if complete, 1 if not) or a line for each run."""
    place = open_lake(arguments, settings)
    tables = open_tables(place)
    if arguments.run is None:
        _print_all(place, tables)
        return 0
    run = run_named(place, arguments.run)
    while True:
        ledger = tables.ledger(run.run_id, run.run_date)
        lines = list(counts(run, ledger))
        if ledger.complete:
            mark_complete(place, run)
        elif said := said_of(place.storage, run.run_id):
            lines.append(f"the run is {said}")
        state = "complete" if ledger.complete else f"incomplete: {missing(ledger)}"
        if arguments.watch and sys.stdout.isatty():
            console().clear()
        print("\n".join([*lines, state]), flush=True)
        if ledger.complete or not arguments.watch:
            return 0 if ledger.complete else 1
        time.sleep(EVERY)


def _print_all(place: Place, tables: Tables) -> None:
    table = Table("run", "file", "day", "source", "tasks", *STATUSES, "state", box=None, pad_edge=False)
    for run in sorted(all_runs(place.storage), key=lambda run: run.created_at):
        ledger = tables.ledger(run.run_id, run.run_date)
        said = said_of(place.storage, run.run_id)
        if ledger.complete:
            mark_complete(place, run)
        table.add_row(
            run.run_id,
            run.name,
            run.run_date,
            run.options.source,
            f"{sum(row.tasks for row in ledger.shards):,}",
            *(f"{ledger.pages.get(status, 0):,}" for status in STATUSES),
            "complete" if ledger.complete else f"{said}: {missing(ledger)}" if said else missing(ledger),
        )
    console().print(table)
