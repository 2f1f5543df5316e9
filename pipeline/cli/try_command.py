"""``serpline sources try``: one question asked as a run would, shown with its judgement and rows."""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import ExitStack
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.bootstrap import open_place
from pipeline.cli.engine_process import practice_base_urls, require_practice_engine
from pipeline.cli.place import deployed_settings, on_aws
from pipeline.cli.screen import console
from pipeline.errors import Misuse
from pipeline.golden_saving import check_name, save_case
from pipeline.http_client import AiohttpClient
from pipeline.pacers.memory import MemoryPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.retrieve import Retriever
from pipeline.robots import RobotsShelf
from pipeline.settings import Settings
from pipeline.source_files import (
    LoadedSource,
    check_ready,
    load_sources,
    pick_source,
    read_secrets,
    user_agent,
)
from pipeline.trying import Exchange, Tried, ask_once, failure_in_words
from stages.fetch import Done, Follow, Refused, plan_request
from stages.found import nothing_found
from stages.keywords import normalise, objection
from stages.records import Batch, Task
from stages.run import canonical_locale
from stages.template import mask_secrets


def add(actions: Any, common: argparse.ArgumentParser) -> None:
    """Add the action's words to those of ``sources``."""
    trial = actions.add_parser(
        "try", parents=[common], help="ask one question; its pace counts, its rows are not stored"
    )
    trial.add_argument("name")
    trial.add_argument("keyword")
    trial.add_argument("--locale")
    trial.add_argument("--page", type=int, default=1)
    trial.add_argument("--practice", action="store_true", help="start the practice engine for this question")
    trial.add_argument("--save", metavar="CASE", help="keep the answer as a golden answer of this name")
    trial.set_defaults(command=try_source)


def try_source(arguments: argparse.Namespace, settings: Settings) -> int:
    """Ask one question at the shared pace; print the requests, the judgement and the rows."""
    with ExitStack() as stack:
        base_urls = stack.enter_context(practice_base_urls()) if arguments.practice else {}
        own = Path(settings.sources) if settings.sources else None
        loaded = pick_source(load_sources(own, base_urls), arguments.name)
        check_ready(loaded.source, settings.contact)
        if arguments.save is not None:
            check_name(loaded, arguments.save, own)
        if not arguments.practice:
            require_practice_engine(loaded.source)
        batch = _batch(arguments, loaded)
        tried = asyncio.run(_ask(batch, loaded, settings, practice=arguments.practice))
    _print_exchanges(tried.exchanges)
    if tried.judged is None or tried.answer is None:
        asked = plan_request(batch.tasks[0], batch, loaded.source, "")
        print(f"{asked.method} {asked.url}\nnot asked: {_not_asked(tried)}")
        return 1
    print(f"judged: {_in_words(tried)}")
    _print_rows(loaded, tried)
    if arguments.save is not None:
        path = save_case(loaded, arguments.save, tried.answer, batch)
        print(f"saved: {path}\nread it: these rows are what the rules read now, and `check` holds them to it")
    return 0 if isinstance(tried.judged, Done) and tried.judged.status == "ok" else 1


async def _ask(batch: Batch, loaded: LoadedSource, settings: Settings, *, practice: bool) -> Tried:
    pacer, shelf, loaded = _shared(loaded, settings) if not practice else (_alone(), None, loaded)
    source = loaded.source
    client = AiohttpClient(read_secrets(source), private_hosts=source.spec.private_hosts)
    agent = user_agent(version("serpline"), settings.contact)
    try:
        return await ask_once(
            batch,
            Retriever(
                source=source,
                extractor=loaded.extractor,
                client=client,
                pacer=pacer,
                user_agent=agent,
                robots=shelf if source.obeys_robots else None,
            ),
        )
    finally:
        await client.close()


def _shared(loaded: LoadedSource, settings: Settings) -> tuple[Pacer, RobotsShelf, LoadedSource]:
    """The pace and the rules of hosts that runs share; on AWS the source at the deployment's pace."""
    place = open_place(settings, lake=settings.lake, broker=settings.broker)
    if on_aws(place.lake):
        from pipeline.bootstrap_aws import at_pace  # noqa: PLC0415  # boto3 is slow to import

        loaded = at_pace(loaded, deployed_settings(place, settings))
    return place.pacer, RobotsShelf(place.storage, time.time), loaded


def _alone() -> Pacer:
    """The practice engine was started for this question: nobody else asks it."""
    return Pacer(MemoryPaceStore(), time.time)


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


def _print_exchanges(exchanges: tuple[Exchange, ...]) -> None:
    for request, response in ((one.request, one.response) for one in exchanges):
        print(f"{request.method} {request.url}")
        for name, value in request.headers.items():
            print(f"  {name}: {value}")
        for name, value in request.secret_headers.items():
            print(f"  {name}: {mask_secrets(value)}")
        if request.body is not None:
            print(f"  {request.body.decode()}")
        got = failure_in_words(response.failure) if response.failure else f"HTTP {response.status}"
        print(f"answer: {got}, {len(response.body):,} bytes in {response.latency_ms} ms")


def _print_rows(loaded: LoadedSource, tried: Tried) -> None:
    if tried.answer is not None and isinstance(tried.judged, Done) and tried.answer.status == 200:
        for line in nothing_found(loaded.source, loaded.extractor, tried.answer):
            print(f"  {line}")
    if isinstance(tried.judged, Done) and tried.judged.results:
        table = Table("rank", "kind", "title", "url", "snippet", box=None, pad_edge=False)
        for result in tried.judged.results:
            table.add_row(str(result.rank), result.kind, result.title, result.url, result.snippet)
        console().print(table)


def _not_asked(tried: Tried) -> str:
    """Why the question stayed unasked, and from when it may be."""
    if tried.why == "robots":
        return "robots.txt disallows it, so a run would end this as refused/robots"
    if tried.state.reason == "robots_unreachable" and tried.exchanges:
        said = f"robots.txt answered HTTP {tried.exchanges[-1].response.status}"
        return f"{said}, which disallows everything (RFC 9309); ask after {_moment(tried.until)}"
    why = {
        "closed": f"the source is closed: it refused ({tried.state.reason})",
        "trial": f"the source refused ({tried.state.reason}), and a run is trying it again",
        "quota": "the day's quota is spent, or the engine's day changes",
        "rate": "all it may be asked now is taken, or its headers ask for a pause",
    }[tried.why]
    return f"{why}; ask after {_moment(tried.until)}"


def _in_words(tried: Tried) -> str:
    judged = tried.judged
    if isinstance(judged, Done):
        total = f", about {judged.total:,} in all" if judged.total is not None else ""
        reason = f" ({judged.reason})" if judged.reason else ""
        words = f"{judged.status}{reason}, {len(judged.results)} results{total}"
    elif isinstance(judged, Refused):
        words = f"refused ({judged.reason})"
    elif isinstance(judged, Follow):
        words = f"a redirect that was not followed in time, to {judged.url}"
    elif judged is not None:
        words = f"retry ({judged.reason}): a run would ask again"
    else:
        words = ""
    closed = f"; closed for everyone until {_moment(tried.until)}" if tried.state.closed_since else ""
    return words + closed


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S %Z}"
