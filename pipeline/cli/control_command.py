"""``serpline pause``, ``resume`` and ``cancel``: what the operator says of a run while it runs."""

from __future__ import annotations

import argparse
from typing import Any

from pipeline.cli.place import add_lake, add_run, check_unfinished, open_lake, run_named
from pipeline.errors import Misuse
from pipeline.run_control import Said, said_of, say
from pipeline.settings import Settings

_WORDS: dict[str, tuple[Said, str, str]] = {
    "pause": (
        "paused",
        "let a run rest: its batches wait, nothing is lost",
        "run {run} is paused: within seconds nothing more of it is asked; `serpline resume {run}` goes on",
    ),
    "resume": (
        "",
        "go on with a paused run",
        "run {run} goes on: a batch that waits is looked at again within five minutes",
    ),
    "cancel": (
        "cancelled",
        "end a run: tasks that were not asked become rows refused/cancelled",
        "run {run} is cancelled: what was not asked ends as refused/cancelled as its batches come by",
    ),
}


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands' words to the parser."""
    for word, (_, told, _) in _WORDS.items():
        parser = commands.add_parser(word, parents=[common], help=told)
        add_run(parser)
        add_lake(parser)
        parser.set_defaults(command=control, word=word)


def control(arguments: argparse.Namespace, settings: Settings) -> int:
    """Say it, where the run can still be told."""
    place = open_lake(arguments, settings)
    run = run_named(place, arguments.run)
    said, _, answer = _WORDS[arguments.word]
    check_unfinished(place, run)
    before = said_of(place.storage, run.run_id)
    if before == "cancelled" and said != "cancelled":
        raise Misuse(
            f"run {run.run_id} is cancelled for good; when it is complete, "
            f"`serpline retry {run.run_id} --status refused` asks again what was not asked"
        )
    if said or before:
        say(place.storage, run.run_id, said, place.clock())
    print(answer.format(run=run.run_id))
    return 0
