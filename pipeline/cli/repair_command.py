"""``serpline repair``: a run that lost messages on its way is made whole."""

from __future__ import annotations

import argparse
from typing import Any

from pipeline.cli.place import (
    add_broker,
    add_lake,
    add_run,
    mark_complete,
    open_queued,
    open_tables,
    run_named,
)
from pipeline.cli.screen import counted
from pipeline.settings import Settings


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "repair",
        parents=[common],
        help="send again what a run lost on its way",
        description="Finds the tasks without a row and sends their batches again from where they stopped. "
        "Meant for a run that is incomplete while its queues are empty: what still waits there is then there "
        "twice. Redrive dead letters first.",
    )
    add_run(parser)
    add_lake(parser)
    add_broker(parser)
    parser.set_defaults(command=repair_run)


def repair_run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Send again what is pending; 0 also where nothing is."""
    from pipeline.repair import repair, resend_closings  # noqa: PLC0415  # the formats of files

    place = open_queued(arguments, settings)
    run = run_named(place, arguments.run)
    tables = open_tables(place)
    queues = place.open_queues()
    try:
        if tables.ledger(run.run_id, run.run_date).complete:
            mark_complete(place, run)
            closings = resend_closings(place.storage, tables, queues)
            also = f"; sent again: {counted(closings, 'closing')}" if closings else ""
            print(f"run {run.run_id} is complete: nothing is missing{also}")
            return 0
        done = repair(place, run, tables, queues)
    finally:
        queues.close()
    sent = (
        (done.parts, "part", "sharded"),
        (done.batches, "batch", "fetched"),
        (done.staged, "staged object", "committed"),
        (done.closings, "closing", "committed"),
    )
    told = ", ".join(f"{counted(count, what)} to be {end}" for count, what, end in sent if count)
    print(f"sent again: {told if told else 'nothing'}")
    if done.backlog:
        print(f"left in the backlog, until the queue drains: {counted(done.backlog, 'batch')}")
    print(f"`serpline status {run.run_id} --watch` shows how it goes on")
    return 0
