"""``serpline status``: the ledger of a run, while it runs too."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.catalog import Tables
from pipeline.cli.screen import STATUSES, console, counts, missing
from pipeline.errors import Misuse
from pipeline.iceberg import open_folder_catalog
from pipeline.runs import all_runs, find_run
from pipeline.settings import Settings
from pipeline.storage.folder import FolderStorage
from stages.run import Run

EVERY = 2.0
"""Seconds between looks of ``--watch``."""


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "status", parents=[common], help="the ledger of a run, or every run a line each"
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id, or its beginning")
    parser.add_argument("--lake", type=Path, metavar="DIR", help="the folder of tables and runs")
    parser.add_argument("--watch", action="store_true", help="look again until the run is complete")
    parser.set_defaults(command=status)


def status(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print one run's ledger (0 if complete, 1 if not) or a line for each run."""
    lake = arguments.lake if arguments.lake is not None else Path(settings.lake)
    if not (lake / "runs").is_dir():
        raise Misuse(f"there are no runs in {lake}; `serpline run FILE --lake {lake}` makes one")
    storage = FolderStorage(lake.absolute())
    tables = Tables(open_folder_catalog(lake.absolute()))
    tables.create()
    if arguments.run is None:
        _print_all(sorted(all_runs(storage), key=lambda run: run.created_at), tables)
        return 0
    run = _find(storage, arguments.run)
    while True:
        ledger = tables.ledger(run.run_id, run.run_date)
        lines = list(counts(run, ledger))
        state = "complete" if ledger.complete else f"incomplete: {missing(ledger)}"
        if arguments.watch and sys.stdout.isatty():
            console().clear()
        print("\n".join([*lines, state]), flush=True)
        if ledger.complete or not arguments.watch:
            return 0 if ledger.complete else 1
        time.sleep(EVERY)


def _find(storage: FolderStorage, wanted: str) -> Run:
    exact = find_run(storage, wanted)
    if exact is not None:
        return exact
    found = [run for run in all_runs(storage) if run.run_id.startswith(wanted)]
    if len(found) != 1:
        raise Misuse(f"{len(found)} runs begin with {wanted!r}; `serpline status` lists them")
    return found[0]


def _print_all(runs: list[Run], tables: Tables) -> None:
    table = Table("run", "file", "day", "source", "tasks", *STATUSES, "state", box=None, pad_edge=False)
    for run in runs:
        ledger = tables.ledger(run.run_id, run.run_date)
        table.add_row(
            run.run_id,
            run.name,
            run.run_date,
            run.options.source,
            f"{sum(row.tasks for row in ledger.shards):,}",
            *(f"{ledger.pages.get(status, 0):,}" for status in STATUSES),
            "complete" if ledger.complete else missing(ledger),
        )
    console().print(table)
