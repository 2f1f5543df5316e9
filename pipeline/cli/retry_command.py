"""``serpline retry``: the tasks of a run that were refused or failed, as a new run."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.again import write_tasks
from pipeline.bootstrap import Place
from pipeline.cli.place import (
    add_broker,
    add_lake,
    add_run,
    lake_of,
    on_aws,
    open_lake,
    open_queued,
    open_tables,
    run_named,
)
from pipeline.cli.screen import counted
from pipeline.cli.submit_command import hand_over
from pipeline.errors import Misuse
from pipeline.runs import Given
from pipeline.settings import Settings
from stages.run import Run

STATUSES = ("ok", "refused", "failed")


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "retry",
        parents=[common],
        help="a new run of a run's tasks that were refused or failed",
        description="Makes a new run of those tasks of a run that ended with one of these statuses, each "
        "with exactly its page, and prints its id.",
    )
    add_run(parser)
    parser.add_argument(
        "--status",
        default="refused,failed",
        metavar="A,B",
        help=f"which of {', '.join(STATUSES)} (default refused,failed)",
    )
    parser.add_argument(
        "--file", type=Path, help="only write the keyword file (.jsonl), for `serpline run FILE`"
    )
    add_lake(parser)
    add_broker(parser)
    parser.set_defaults(command=retry_run)


def retry_run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write the tasks to a keyword file, and hand it over unless only the file is wanted."""
    statuses = tuple(dict.fromkeys(word.strip() for word in arguments.status.split(",")))
    unknown = [word for word in statuses if word not in STATUSES]
    if unknown:
        raise Misuse(f"--status takes {', '.join(STATUSES)}, with commas between; {unknown[0]!r} is none")
    if arguments.file is not None:
        return _write_only(arguments, settings, statuses)
    if not on_aws(lake_of(arguments, settings)) and arguments.broker is None and not settings.broker:
        raise Misuse(
            "name the broker whose workers shall retry with --broker URL, or with --file FILE.jsonl where "
            "the keyword file goes, for `serpline run FILE.jsonl`"
        )
    place = open_queued(arguments, settings)
    run = run_named(place, arguments.run)
    with tempfile.TemporaryDirectory(prefix="serpline-retry-") as folder:
        path = Path(folder) / f"retry-{run.run_id}.jsonl"
        tasks = _write(place, run, statuses, path)
        options = run.options
        print(f"{counted(tasks, 'task')} of run {run.run_id} again", file=sys.stderr)
        return hand_over(place, settings, path, Given(options.source, options.locale, options.device))


def _write_only(arguments: argparse.Namespace, settings: Settings, statuses: tuple[str, ...]) -> int:
    path: Path = arguments.file
    if not path.name.endswith(".jsonl"):
        raise Misuse(f"{path.name} must end in .jsonl, which says what it holds")
    place = open_lake(arguments, settings)
    run = run_named(place, arguments.run)
    try:
        tasks = _write(place, run, statuses, path)
    except OSError as error:
        raise Misuse(f"{path} cannot be written: {error.strerror}") from error
    print(f"{path}: {counted(tasks, 'task')}; `serpline run {path}` asks them again")
    return 0


def _write(place: Place, run: Run, statuses: tuple[str, ...], path: Path) -> int:
    with path.open("xb") as file:
        tasks = write_tasks(open_tables(place), run, statuses, file)
    if not tasks:
        path.unlink()
        raise Misuse(
            f"no task of run {run.run_id} ended as {' or '.join(statuses)}: there is nothing to retry"
        )
    return tasks
