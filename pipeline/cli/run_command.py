"""``serpline run``: a keyword file to tables, here and now."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from pipeline import keys
from pipeline.bootstrap import Place, open_place
from pipeline.catalog import Tables
from pipeline.cli.engine_process import practice_base_urls, require_practice_engine
from pipeline.cli.screen import closed_note, ledger_lines, run_progress
from pipeline.errors import Misuse
from pipeline.iceberg import open_folder_catalog
from pipeline.local import run_here
from pipeline.logs import configure_logs, get_log
from pipeline.runs import Drop, find_run, finish_run, freeze_run, is_complete, unfinished_run_id
from pipeline.settings import Settings
from pipeline.source_files import LoadedSource, check_ready, pick_source, ready_sources
from stages.keyword_file import file_format
from stages.records import Malformed
from stages.run import DEVICES, Options, Run, RunBy, canonical_locale


class Interrupted(KeyboardInterrupt):
    """The user stopped a run; the text says how it goes on."""


_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


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
    parser.add_argument("--pages", type=int, default=1, metavar="N", help="result pages of each keyword")
    parser.add_argument("--lake", type=Path, metavar="DIR", help="the folder of tables and runs")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run or resume; 0 only if every task is accounted for."""
    lake = arguments.lake if arguments.lake is not None else Path(settings.lake)
    on_screen = sys.stderr.isatty()
    with ExitStack() as stack:
        base_urls = stack.enter_context(practice_base_urls()) if arguments.practice else {}
        place = ready_place(open_place(settings, lake=lake, base_urls=base_urls), arguments, settings)
        name = arguments.source if arguments.source is not None else settings.source
        source = pick_source(place.sources, name).source
        if not arguments.practice:
            require_practice_engine(source)
        frozen = drop_file(arguments, settings, place, "here")
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


def ready_place(place: Place, arguments: argparse.Namespace, settings: Settings) -> Place:
    """The place with the sources that can be asked from here; ``Misuse`` where the run needs another."""
    name = arguments.source if arguments.source is not None else settings.source
    check_ready(pick_source(place.sources, name).source, settings.contact)
    return msgspec.structs.replace(place, sources=ready_sources(place.sources, settings.contact))


def drop_file(arguments: argparse.Namespace, settings: Settings, place: Place, by: RunBy) -> Run:
    """Store the file in the lake and freeze its run, or find the unfinished one of the same drop.

    ``by`` says who runs it: a run that workers have messages of is never taken up here, or the other way.
    Raises ``Misuse`` for a file, source, locale or number of pages that cannot be.
    """
    path: Path = arguments.file
    try:
        file_format(path.name)
        content = _content_hash(path)
    except Malformed as error:
        raise Misuse(str(error)) from error
    except OSError as error:
        raise Misuse(f"{path} cannot be read: {error.strerror}") from error
    source = pick_source(place.sources, arguments.source if arguments.source is not None else settings.source)
    options = _options(arguments, settings, source)
    key = keys.dropped(content, path.name)
    run_id = arguments.run_id
    if run_id is None:
        drop_point = f"{by}:{place.lake}"
        run_id = unfinished_run_id(drop_point, path.name, content, options, _is_finished(place))
    elif not _RUN_ID.fullmatch(run_id):
        raise Misuse("--run-id takes up to 64 letters, digits, _ and -")
    frozen = find_run(place.storage, run_id)
    if frozen is not None:
        if frozen.key != key or frozen.options != options:
            raise Misuse(f"run {run_id} was made of {frozen.name} with other options; give another --run-id")
        if frozen.by != by:
            raise Misuse(
                f"run {run_id} is run by {frozen.by}; `serpline status {run_id}` shows how it goes on"
            )
        return frozen
    with path.open("rb") as file:
        place.storage.put_file(key, file)
    terms = {name: loaded.terms for name, loaded in place.sources.items()}
    rate = source.source.spec.politeness.rate
    return freeze_run(
        place.storage,
        run_id,
        Drop(key, path.name, options, by),
        sources=terms,
        rate=rate,
        clock=place.clock,
    )


def _is_finished(place: Place) -> Callable[[str], bool]:
    """Whether a run is complete: by its mark, or by its ledger, which then earns it the mark."""

    def finished(run_id: str) -> bool:
        if is_complete(place.storage, run_id):
            return True
        run = find_run(place.storage, run_id)
        if run is None:
            return False
        tables = Tables(open_folder_catalog(place.lake))
        tables.create()
        if not tables.ledger(run.run_id, run.run_date).complete:
            return False
        finish_run(place.storage, run_id, place.clock())
        return True

    return finished


def _content_hash(path: Path) -> str:
    hashed = blake2b(digest_size=16)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hashed.update(piece)
    return hashed.hexdigest()


def _options(arguments: argparse.Namespace, settings: Settings, source: LoadedSource) -> Options:
    spec = source.source.spec
    locale = canonical_locale(arguments.locale if arguments.locale is not None else spec.default_locale)
    if locale is None:
        raise Misuse(f"{arguments.locale!r} is no locale; write language and country, as in en-US")
    if spec.locales and locale not in spec.locales:
        raise Misuse(f"source {spec.name} has no locale {locale}; it has: {', '.join(spec.locales)}")
    if not 1 <= arguments.pages <= spec.paging.most:
        raise Misuse(f"--pages must be 1 to {spec.paging.most} for source {spec.name}")
    device = arguments.device if arguments.device is not None else settings.device
    return Options(spec.name, locale, device, arguments.pages)
