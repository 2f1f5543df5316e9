"""``serpline sources``: which there are, what they say, one question tried, golden answers checked."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from pipeline.cli import try_command
from pipeline.cli.screen import console
from pipeline.errors import Misuse
from pipeline.golden import check_case, golden_cases
from pipeline.settings import Settings
from pipeline.source_files import LoadedSource, load_sources, pick_source, renamed
from stages.source import SourceError, parse_source


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser("sources", parents=[common], help="list, show, try, check or copy sources")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", parents=[common], help="every source, a line each")
    listing.set_defaults(command=list_sources)
    show = actions.add_parser("show", parents=[common], help="a source's file as it is used")
    show.add_argument("name")
    show.set_defaults(command=show_source)
    try_command.add(actions, common)
    check = actions.add_parser("check", parents=[common], help="read the golden answers; nothing is asked")
    check.add_argument("name", nargs="?")
    check.set_defaults(command=check_sources)
    copy = actions.add_parser("copy", parents=[common], help="begin a source of your own with another's file")
    copy.add_argument("name")
    copy.add_argument("new_name")
    copy.add_argument("--base-url", metavar="URL", help="where the engine is")
    copy.set_defaults(command=copy_source)


def list_sources(_arguments: argparse.Namespace, settings: Settings) -> int:
    """Print every source with its rate and what it is."""
    table = Table("source", "kind", "rules", "requests/s", "pages", "summary", box=None, pad_edge=False)
    for name, loaded in sorted(_load(settings).items()):
        spec = loaded.source.spec
        table.add_row(
            name,
            spec.kind,
            spec.answer.language,
            f"{spec.politeness.rate:g}",
            str(spec.paging.most),
            spec.summary,
        )
    console().print(table)
    return 0


def show_source(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print a source as it is used, every default filled in."""
    loaded = pick_source(_load(settings), arguments.name)
    print(msgspec.json.format(msgspec.json.encode(loaded.source.spec), indent=2).decode())
    print(f"# from {loaded.file}, hash {loaded.source.hash}")
    return 0


def check_sources(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print a line a golden answer, and all that is wrong with it; 1 when one is not read as it must be."""
    sources = _load(settings)
    chosen = [pick_source(sources, arguments.name)] if arguments.name is not None else list(sources.values())
    failed = 0
    for loaded in sorted(chosen, key=lambda loaded: loaded.source.name):
        cases = golden_cases(loaded)
        if not cases:
            if arguments.name is not None:
                raise Misuse(f"source {loaded.source.name} has no golden answers in {loaded.golden}")
            print(f"none  {loaded.source.name}")
        for case in cases:
            wrong = check_case(loaded, case)
            failed += bool(wrong)
            line = f"{loaded.source.name}/{case.name}"
            print(f"FAIL  {line}: {wrong[0]}" if wrong else f"ok    {line}")
            for more in wrong[1:]:
                print(f"      {more}")
    return 1 if failed else 0


def copy_source(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write a source's file under another name into the user's folder."""
    if not settings.sources:
        raise Misuse("name the folder for it with SERPLINE_SOURCES")
    loaded = pick_source(_load(settings), arguments.name)
    text = renamed(loaded.text, arguments.new_name, arguments.base_url)
    try:
        parse_source(text)
    except SourceError as error:
        raise Misuse(f"this cannot be a source: {error}") from error
    path = Path(settings.sources) / f"{arguments.new_name}.toml"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Misuse(f"there is a {path} already") from error
    print(path)
    return 0


def _load(settings: Settings) -> dict[str, LoadedSource]:
    return load_sources(Path(settings.sources) if settings.sources else None)
