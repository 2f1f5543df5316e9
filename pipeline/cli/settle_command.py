"""``serpline settle``: a run is closed without what it never got."""

from __future__ import annotations

import argparse
from typing import Any

from pipeline.cli.place import add_broker, add_lake, add_run, open_queued, open_tables, run_named
from pipeline.cli.screen import counted
from pipeline.settings import Settings


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "settle",
        parents=[common],
        help="close a run: tasks without a row become rows failed/dead",
        description="Ends every task that has no row, also one that still waits, as failed/dead. Its late "
        "messages change nothing.",
    )
    add_run(parser)
    add_lake(parser)
    add_broker(parser)
    parser.set_defaults(command=settle_run)


def settle_run(arguments: argparse.Namespace, settings: Settings) -> int:
    """End what is pending."""
    from pipeline.settling import settle  # noqa: PLC0415  # the formats of files

    place = open_queued(arguments, settings)
    run = run_named(place, arguments.run)
    queues = place.open_queues()
    try:
        done = settle(place, run, open_tables(place), queues)
    finally:
        queues.close()
    print(
        f"ended as failed/dead: {counted(done.tasks, 'task')}; "
        f"sent to be committed: {counted(done.staged, 'staged object')}"
    )
    print(f"`serpline status {run.run_id} --watch` shows how it goes on")
    return 0
