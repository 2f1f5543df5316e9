"""``serpline measure clean``: what experiments left behind, taken away after a question."""

from __future__ import annotations

import argparse
from typing import Any

from pipeline.cli.measure_stand import agreed, stand_of
from pipeline.cli.place import add_lake
from pipeline.cli.screen import counted
from pipeline.errors import Misuse
from pipeline.settings import Settings


def add(kinds: Any, common: argparse.ArgumentParser) -> None:
    """Add the words to those of ``measure``."""
    parser = kinds.add_parser(
        "clean",
        parents=[common],
        help="remove what experiments left: schedules, messages, objects; rows are kept",
        description="What probes have answered goes into the table first. An experiment that runs is ended.",
    )
    parser.add_argument("experiment", metavar="EXPERIMENT", nargs="?", default="", help="only this one")
    parser.add_argument("--yes", action="store_true", help="end also what still runs")
    add_lake(parser)
    parser.set_defaults(command=measure_clean)


def measure_clean(arguments: argparse.Namespace, settings: Settings) -> int:
    """Take away what experiments left."""
    from pipeline.measure.clean import clean, left_behind  # noqa: PLC0415

    stand, tables = stand_of(arguments, settings)
    left = left_behind(stand, arguments.experiment)
    ended = f"{counted(len(left.schedules), 'schedule')} and {counted(left.messages, 'message')}"
    running = bool(left.schedules or left.messages)
    if running and not arguments.yes and not agreed(f"{ended} would never run"):
        raise Misuse(f"nothing removed: {ended} of probes are to come; --yes ends them")
    done = clean(stand, tables(), arguments.experiment)
    print(
        f"{counted(done.rows, 'row')} saved; removed {counted(done.schedules, 'schedule')}, "
        f"{counted(done.messages, 'message')}, {counted(done.objects, 'object')}"
    )
    if done.resized:
        print(f"{counted(done.resized, 'function')} had another memory than before and has its own again")
    for name in done.unread:
        print(f"{name} was not readable: look whether its functions have the memory that Terraform gave them")
    if done.running:
        print(f"{counted(done.running, 'message')} in the hands of probes: run it again in a minute")
    return 0
