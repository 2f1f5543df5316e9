"""``serpline run``: a keyword file to tables, here and now."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipeline.bootstrap import open_place
from pipeline.cli.drop import drop_file
from pipeline.cli.engine_process import practice_base_urls, require_practice_engine
from pipeline.cli.place import add_lake, folder_of, ready_place
from pipeline.cli.quota_note import warn_of_quota
from pipeline.cli.screen import closed_note, ledger_lines, run_progress
from pipeline.errors import Misuse
from pipeline.local import run_here
from pipeline.logs import configure_logs, get_log
from pipeline.runs import Given, is_complete
from pipeline.settings import Settings
from pipeline.source_files import pick_source
from stages.run import DEVICES


class Interrupted(KeyboardInterrupt):
    """The user stopped a run; the text says how it goes on."""


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "run",
        parents=[common],
        help="retrieve the results for a keyword file on this machine",
        description="Retrieve the results for a keyword file on this machine. The same command after an "
        "interruption resumes the run and fetches only what is missing; after a finished run it makes a "
        "new one.",
    )
    parser.add_argument("file", type=Path, help=".txt, .csv, .tsv, .jsonl (also .gz, .zst) or .parquet")
    add_options(parser)
    parser.add_argument("--run-id", help="the run's id, instead of the one derived from file and options")
    parser.add_argument("--practice", action="store_true", help="start the practice engine for this run")
    parser.set_defaults(command=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The words that say what a row gets where it says nothing itself."""
    parser.add_argument("--source", help="the source to ask (see `serpline sources list`)")
    parser.add_argument("--locale", help="language and country, as in en-US")
    parser.add_argument("--device", choices=DEVICES, help="the device that results are meant for")
    parser.add_argument("--pages", type=int, metavar="N", help="result pages of each keyword (1)")
    parser.add_argument("--spread", metavar="TIME", help="let the run last so long, as in 90s, 45m, 6h or 2d")
    add_lake(parser)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run or resume; 0 only if every task is accounted for."""
    lake = folder_of(arguments, settings, "`serpline submit` hands a file to the deployment on AWS")
    on_screen = sys.stderr.isatty()
    with ExitStack() as stack:
        base_urls = stack.enter_context(practice_base_urls()) if arguments.practice else {}
        name = arguments.source if arguments.source is not None else settings.source
        place = ready_place(open_place(settings, lake=lake, base_urls=base_urls), name, settings)
        source = pick_source(place.sources, name).source
        if not arguments.practice:
            require_practice_engine(source)
        pages = str(arguments.pages) if arguments.pages is not None else None
        given = Given(arguments.source, arguments.locale, arguments.device, pages, arguments.spread)
        warn_of_quota(arguments.file, given, settings, place.sources)
        frozen = drop_file(arguments.file, given, settings, place, "here", arguments.run_id)
        if is_complete(place.storage, frozen.run_id):
            raise Misuse(f"run {frozen.run_id} is complete; `serpline status {frozen.run_id}` shows it")
        log_file = lake.with_name(lake.name + ".log") if on_screen else None
        stream = configure_logs(log_file, verbose=arguments.verbose)
        if log_file is not None:
            stack.enter_context(stream)
        closed = closed_note(place.pacer, source.name)
        with run_progress(place.metrics, frozen, closed, shown=on_screen) as tick:
            try:
                end = run_here(place, frozen, get_log(run_id=frozen.run_id), tick)
            except KeyboardInterrupt:
                raise Interrupted(
                    "interrupted; the same command goes on, and asks only for what is missing"
                ) from None
    for line in ledger_lines(frozen, end):
        print(line)
    return 0 if end.ledger.complete else 1
