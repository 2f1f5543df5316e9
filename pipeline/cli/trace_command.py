"""``serpline trace``: each hop of one keyword, from its line in the file to its rows in the table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.cli.place import add_lake, open_lake, open_tables, run_named
from pipeline.cli.screen import counted
from pipeline.runs import all_runs
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.tracing import Traced, TracedTask


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "trace",
        parents=[common],
        help="where one keyword is: from the file to the row",
        description="Each hop of one keyword, from its line in the file to its rows. Without a run every "
        "run is looked at, the newest first, and each reads its whole file.",
    )
    parser.add_argument("keyword")
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run's id, or its beginning")
    add_lake(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(command=trace_keyword)


def trace_keyword(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print where the keyword is; 1 where no run that was looked at has it."""
    from pipeline.tracing import trace  # noqa: PLC0415  # the formats of files

    place = open_lake(arguments, settings)
    tables = open_tables(place)
    runs = (
        [run_named(place, arguments.run)]
        if arguments.run is not None
        else sorted(all_runs(place.storage), key=lambda run: -run.created_at)
    )
    found: list[Traced] = []
    for run in runs:
        traced = trace(place.storage, tables, run, arguments.keyword)
        if traced is None:
            continue
        found.append(traced)
        if arguments.format == "text":
            print("\n".join(_lines(traced)), flush=True)
    if arguments.format == "json":
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    if not found:
        files = (
            f"the file of run {runs[0].run_id} has no line"
            if arguments.run is not None
            else "no run has a line"
        )
        print(f"serpline: {files} with the keyword {arguments.keyword!r}", file=sys.stderr)
    return 0 if found else 1


def _lines(traced: Traced) -> Iterator[str]:
    numbers = ", ".join(map(str, traced.lines))
    yield f"run {traced.run_id}  {traced.file}, line {numbers}"
    for reject in traced.rejected:
        yield f"  line {reject.line} was rejected: {reject.reason}"
    if traced.tasks:
        yield f"  part {traced.part}{'' if traced.sharded else ', not in the ledger yet'}"
    elif not traced.rejected:
        yield "  no task comes of it: the file, or the line, was refused"
    for task in traced.tasks:
        yield from _task_lines(task)


def _task_lines(task: TracedTask) -> Iterator[str]:
    yield f"  page {task.page} of {task.source}, {task.locale}, {task.device}: batch {task.batch_no}"
    for staged in task.staged:
        yield f"    {staged.key}"
        if staged.status == "left":
            spent = f"{staged.attempts} failed, {staged.refusals} refused"
            yield f"      left for cut {staged.cut + 1} ({spent} requests so far)"
        else:
            yield f"      {_ended(staged.status, staged.reason)}, {counted(staged.attempts, 'request')}"
    for row in task.rows:
        answered = f", HTTP {row.http_status}" if row.http_status else ""
        lane = f", lane {row.lane}" if row.lane else ""
        yield (
            f"    row: {_ended(row.status, row.reason)}{answered}, {counted(row.attempts, 'request')}, "
            f"{row.fetched_at:%Y-%m-%d %H:%M:%S} UTC{lane}"
        )
    if not task.rows:
        yield f"    {task.now}"


def _ended(status: str, reason: str) -> str:
    return f"{status}/{reason}" if reason else status
