"""``serpline sources``: which there are, what they say, one question tried, golden answers checked."""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import ExitStack
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from pipeline.bootstrap import open_place
from pipeline.cli.engine_process import practice_base_urls, require_practice_engine
from pipeline.cli.screen import console
from pipeline.errors import Misuse
from pipeline.golden import check_case, golden_cases
from pipeline.http_client import AiohttpClient
from pipeline.robots import ask_robots
from pipeline.settings import Settings
from pipeline.source_files import (
    LoadedSource,
    check_ready,
    load_sources,
    pick_source,
    read_secrets,
    renamed,
    user_agent,
)
from stages.fetch import Done, judge_response, plan_request
from stages.keywords import normalise, objection
from stages.pace import Wait, lease
from stages.records import Batch, Request, Response, Task
from stages.robots import allowed_by, robots_url
from stages.run import canonical_locale
from stages.source import Source, SourceError, parse_source
from stages.template import mask_secrets

LONGEST_PAUSE = 60.0
"""Seconds between robots.txt and the question at most."""


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser("sources", parents=[common], help="list, show, try, check or copy sources")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", parents=[common], help="every source, a line each")
    listing.set_defaults(command=list_sources)
    show = actions.add_parser("show", parents=[common], help="a source's file as it is used")
    show.add_argument("name")
    show.set_defaults(command=show_source)
    trial = actions.add_parser("try", parents=[common], help="ask one question; nothing is stored")
    trial.add_argument("name")
    trial.add_argument("keyword")
    trial.add_argument("--locale")
    trial.add_argument("--page", type=int, default=1)
    trial.add_argument("--practice", action="store_true", help="start the practice engine for this question")
    trial.set_defaults(command=try_source)
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


def try_source(arguments: argparse.Namespace, settings: Settings) -> int:
    """Ask one question, if its state and robots.txt let it; print the request, the judgement and the rows."""
    with ExitStack() as stack:
        base_urls = stack.enter_context(practice_base_urls()) if arguments.practice else {}
        loaded = pick_source(_load(settings, base_urls), arguments.name)
        source = loaded.source
        check_ready(source, settings.contact)
        if not arguments.practice:
            require_practice_engine(source)
        batch = _batch(arguments, loaded)
        agent = user_agent(version("serpline"), settings.contact)
        request = plan_request(batch.tasks[0], batch, source, agent)
        objection, response = "" if arguments.practice else _not_now(source, settings), None
        if not objection:
            objection, response = asyncio.run(_ask(request, loaded, agent))
    if response is None:
        print(f"{request.method} {request.url}\nnot asked: {objection}")
        return 1
    judged = judge_response(batch.tasks[0], source, loaded.extractor, response, time.time())
    _print_exchange(request, response)
    print(f"judged: {_in_words(judged)}")
    if isinstance(judged, Done) and judged.results:
        table = Table("rank", "kind", "title", "url", "snippet", box=None, pad_edge=False)
        for result in judged.results:
            table.add_row(str(result.rank), result.kind, result.title, result.url, result.snippet)
        console().print(table)
    return 0 if isinstance(judged, Done) and judged.status == "ok" else 1


def check_sources(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print a line a golden answer; 1 when one is not read as it must be."""
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
            print(f"FAIL  {line}: {wrong}" if wrong else f"ok    {line}")
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


def _not_now(source: Source, settings: Settings) -> str:
    """Why the state that all who ask this source share says no; empty where it may be asked.

    Looked at and left as it is: a question by hand takes nobody's slot, and is nobody's trial.
    """
    place = open_place(settings, lake=settings.lake, broker=settings.broker)
    state = place.pacer.state(source.name)
    known = place.sources.get(source.name)
    terms = (known.source if known is not None else source).spec.politeness
    _, grant = lease(state, terms, time.time(), 1)
    if not isinstance(grant, Wait):
        return ""
    why = {
        "closed": f"the source is closed: it refused ({state.reason})",
        "trial": f"the source refused ({state.reason}), and a run is trying it again",
        "quota": "the day's quota is spent, or the engine's day changes",
        "rate": "all it may be asked now is taken, or its headers ask for a pause",
    }[grant.reason]
    return f"{why}; ask after {datetime.fromtimestamp(grant.until).astimezone():%Y-%m-%d %H:%M:%S %Z}"


async def _ask(request: Request, loaded: LoadedSource, agent: str) -> tuple[str, Response | None]:
    """The answer; or why robots.txt forbids to ask, and none."""
    source = loaded.source
    client = AiohttpClient(read_secrets(source), private_hosts=source.spec.private_hosts)
    try:
        if source.obeys_robots:
            robots = await ask_robots(client, source, request.url, agent)
            where = robots_url(request.url)
            if robots is None:
                return f"{where} cannot be read now, which disallows everything (RFC 9309)", None
            if not allowed_by(robots, agent)(request.url):
                return f"{where} disallows it, so a run would end this as refused/robots", None
            # Two requests are two slots of the source's rate.
            await asyncio.sleep(min(1.0 / source.spec.politeness.rate, LONGEST_PAUSE))
        return "", await client.send(request, source.spec.limits)
    finally:
        await client.close()


def _batch(arguments: argparse.Namespace, loaded: LoadedSource) -> Batch:
    spec = loaded.source.spec
    keyword = normalise(arguments.keyword)
    if reason := objection(keyword):
        raise Misuse(f"{arguments.keyword!r} is no keyword: {reason}")
    locale = canonical_locale(arguments.locale if arguments.locale is not None else spec.default_locale)
    if locale is None:
        raise Misuse(f"{arguments.locale!r} is no locale; write language and country, as in en-US")
    if spec.locales and locale not in spec.locales:
        raise Misuse(f"source {spec.name} has no locale {locale}; it has: {', '.join(spec.locales)}")
    if not 1 <= arguments.page <= spec.paging.most:
        raise Misuse(f"--page must be 1 to {spec.paging.most} for source {spec.name}")
    return Batch("try", "1970-01-01", 0, 1, spec.name, locale, "desktop", (Task(keyword, arguments.page),))


def _print_exchange(request: Request, response: Response) -> None:
    print(f"{request.method} {request.url}")
    for name, value in request.headers.items():
        print(f"  {name}: {value}")
    for name, value in request.secret_headers.items():
        print(f"  {name}: {mask_secrets(value)}")
    if request.body is not None:
        print(f"  {request.body.decode()}")
    got = response.failure if response.failure else f"HTTP {response.status}"
    print(f"answer: {got}, {len(response.body):,} bytes in {response.latency_ms} ms")


def _in_words(judged: Any) -> str:
    kind = type(judged).__name__.lower()
    if isinstance(judged, Done):
        total = f", about {judged.total:,} in all" if judged.total is not None else ""
        reason = f" ({judged.reason})" if judged.reason else ""
        return f"{judged.status}{reason}, {len(judged.results)} results{total}"
    return f"{kind}: {', '.join(str(value) for value in msgspec.structs.astuple(judged) if value)}"


def _load(settings: Settings, base_urls: Any = None) -> dict[str, LoadedSource]:
    return load_sources(Path(settings.sources) if settings.sources else None, base_urls)
