"""``serpline redrive``: dead letters of a stage go back to its queue."""

from __future__ import annotations

import argparse
from typing import Any

from pipeline.bootstrap import Place
from pipeline.cli.place import add_broker, add_lake, open_queued
from pipeline.cli.screen import counted
from pipeline.errors import Misuse
from pipeline.queues.names import Queues
from pipeline.queues.protocol import Queue
from pipeline.redrive import redrive
from pipeline.settings import Settings

STAGES = ("shard", "fetch", "aggregate")


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "redrive",
        parents=[common],
        help="send a stage's dead letters to it again",
        description="Sends the messages of a stage's dead-letter queues to it again, once what broke them "
        "is mended. One that fails again meanwhile stays where it is.",
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--source", help="fetch only: the one source (default: every source)")
    parser.add_argument("--rate", type=float, metavar="N", help="messages a second at most")
    add_lake(parser)
    add_broker(parser)
    parser.set_defaults(command=redrive_stage)


def redrive_stage(arguments: argparse.Namespace, settings: Settings) -> int:
    """Redrive the stage's queues, one after the other; says of each how many."""
    if arguments.source is not None and arguments.stage != "fetch":
        raise Misuse(f"--source has no meaning for {arguments.stage}")
    place = open_queued(arguments, settings)
    queues = place.open_queues()
    try:
        for queue in _queues(arguments, place, queues):
            moved = redrive(queue, rate=arguments.rate)
            print(f"{counted(moved, 'message')} sent again to {queue.name}", flush=True)
    finally:
        queues.close()
    return 0


def _queues(arguments: argparse.Namespace, place: Place, queues: Queues) -> list[Queue]:
    if arguments.stage == "shard":
        return [queues.keywords]
    if arguments.stage == "aggregate":
        return [queues.results]
    if arguments.source is not None:
        # Also one that is not known here: a deployment has sources of its own.
        return [queues.fetch(arguments.source)]
    there = [queue for queue in map(queues.fetch, sorted(place.sources)) if _exists(queue)]
    if not there:
        raise Misuse(
            f"no source has a queue under the name {queues.results.name.removesuffix('-results')}: is it the "
            "name and region of `terraform apply`? One source is named with --source"
        )
    return there


def _exists(queue: Queue) -> bool:
    """Whether there is such a queue: a deployment has those of its own sources only."""
    try:
        queue.dead().depth()
    except Misuse:
        return False
    return True
