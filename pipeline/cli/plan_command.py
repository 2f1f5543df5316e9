"""``serpline plan``: what a keyword file will take and cost on AWS, before anything is asked."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.cli.place import lake_of, on_aws
from pipeline.cli.quota_note import quota_words
from pipeline.cli.run_command import add_options
from pipeline.errors import Misuse
from pipeline.runs import Given, new_options, spread_of
from pipeline.settings import Settings
from pipeline.source_files import LoadedSource, load_sources, pick_source
from stages.records import Malformed

if TYPE_CHECKING:
    from pipeline.loads import Load, Terms
    from pipeline.planning import Bill, FileRead


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "plan",
        parents=[common],
        help="how long a keyword file will take, and what it will cost on AWS",
        description="Reads a keyword file and says what it will take at its sources' rates, and what AWS is "
        "called for and costs. Nothing is asked and nothing is stored. The words that describe the "
        "deployment hold for the source that the file's rows get where they name none.",
    )
    parser.add_argument("file", type=Path)
    add_options(parser)
    parser.add_argument("--rate", type=float, metavar="R", help="requests a second for the whole fleet")
    parser.add_argument("--concurrency", type=int, metavar="N", help="open requests of one function")
    parser.add_argument(
        "--copies", type=int, default=2, metavar="N", help="max_concurrency of the source (2)"
    )
    parser.add_argument("--memory", type=int, default=512, metavar="MB", help="of a fetch function (512)")
    parser.add_argument("--latency", type=float, default=0.3, metavar="S", help="seconds of one answer (0.3)")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(command=plan)


def plan(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print the plan; nothing is asked."""
    from pipeline import planning  # noqa: PLC0415  # fetch's libraries, for its constants
    from pipeline.loads import Load  # noqa: PLC0415

    if min(arguments.copies, arguments.memory) < 1 or arguments.latency <= 0:
        raise Misuse("--copies, --memory and --latency are above 0")
    sources = load_sources(Path(settings.sources) if settings.sources else None)
    name = arguments.source if arguments.source is not None else settings.source
    pick_source(sources, name)
    pages = str(arguments.pages) if arguments.pages is not None else None
    given = Given(name, arguments.locale, arguments.device, pages, arguments.spread)
    options, objection = new_options(given, sources, settings.source, settings.device)
    spread, wrong = spread_of(given)
    if objection or wrong:
        raise Misuse(objection if objection else wrong)
    terms = {one: _terms(loaded, arguments, settings, own=one == name) for one, loaded in sources.items()}
    try:
        read = planning.read_file(arguments.file, options, sources, terms[name].rate, spread)
    except Malformed as error:
        raise Misuse(f"{arguments.file.name}: {error}") from error
    except OSError as error:
        raise Misuse(f"{arguments.file} cannot be read: {error.strerror}") from error
    loads = [Load(one, terms[one], tasks, read.batches[one], spread) for one, tasks in read.tasks.items()]
    fleet = planning.Fleet(horizon=settings.horizon)
    bill = planning.bill(loads, lines=read.lines, parts=read.parts, fleet=fleet)
    sizes = {load.source: _size(load, sources[load.source], lake_of(arguments, settings)) for load in loads}
    if arguments.format == "json":
        said = {"file": arguments.file.name, "read": read, "loads": loads, "bill": bill, "usd": bill.usd}
        said["sources"] = {load.source: _said(load) for load in loads}
        said["days_of_quota"] = {load.source: load.days for load in loads if load.days}
        said["table_bytes"] = {source: round(size.bytes) for source, size in sizes.items()}
        print(msgspec.json.format(msgspec.json.encode(said), indent=2).decode())
    else:
        print("\n".join(_lines(arguments.file.name, read, loads, bill, sources, settings.horizon)))
        if sizes:
            print(_size_line(sizes))
    return 0


def _said(load: Load) -> dict[str, float]:
    """What one source is asked and how long that takes, if no answer has to be asked for again."""
    return {"tasks": load.tasks, "requests": load.tasks, "hours": load.seconds / 3600, "days": load.days}


BYTES_A_RESULT = 100.0
"""Of Parquet, for title, link and snippet together: ``bench/lookup.py`` measures 95 of made-up text."""


class _Size(msgspec.Struct, frozen=True):
    """Bytes that a load adds to the table; ``known`` where the lake has pages of its source already."""

    bytes: float
    known: bool


def _size(load: Load, loaded: LoadedSource, lake: str) -> _Size:
    """As large as this source's pages in the lake are, or full pages of results of a usual length."""
    if not on_aws(lake):
        from pipeline.query.lake_size import bytes_a_page  # noqa: PLC0415  # pyiceberg, for a lake that is there

        page = bytes_a_page(Path(lake), load.source)
        if page is not None:
            return _Size(load.tasks * page, known=True)
    return _Size(load.tasks * loaded.source.spec.paging.size * BYTES_A_RESULT, known=False)


def _size_line(sizes: dict[str, _Size]) -> str:
    total = f"{sum(size.bytes for size in sizes.values()) / 1e6:,.1f} MB"
    known = [source for source, size in sizes.items() if size.known]
    if len(known) == len(sizes):
        return f"the table grows by about {total}, if pages are as large as those in the lake"
    usual = f"full pages at {BYTES_A_RESULT:.0f} bytes a result"
    return f"the table grows by about {total}: {usual}{', the others as in the lake' if known else ''}"


def _terms(loaded: LoadedSource, arguments: argparse.Namespace, settings: Settings, *, own: bool) -> Terms:
    """A source's pace: the command's, else the deployment's (``SERPLINE_TERMS``), else its file's."""
    from pipeline.loads import Terms  # noqa: PLC0415

    spec = loaded.source.spec.politeness
    said = settings.terms.get(loaded.source.name)
    rate, concurrency = (said.rate, said.concurrency) if said is not None else (spec.rate, spec.concurrency)
    if own and arguments.rate is not None:
        rate = arguments.rate
    if own and arguments.concurrency is not None:
        concurrency = arguments.concurrency
    if rate <= 0 or concurrency < 1:
        raise Misuse("--rate is above 0 requests a second and --concurrency at least 1")
    quota = said.quota if said is not None and said.quota is not None else spec.quota
    return Terms(rate, concurrency, arguments.copies, arguments.latency, arguments.memory, quota=quota)


def _lines(
    name: str,
    read: FileRead,
    loads: list[Load],
    bill: Bill,
    sources: dict[str, LoadedSource],
    horizon: float,
) -> Iterator[str]:
    from pipeline.planning import in_words, standing  # noqa: PLC0415

    tasks, batches = sum(read.tasks.values()), sum(read.batches.values())
    if read.row is not None:
        row = read.row
        counts = f"{row.kept:,} kept + {row.duplicates:,} duplicates + {row.rejected:,} rejects"
        yield f"{name}: {row.lines:,} lines = {counts}"
    else:
        yield f"{name}: about {read.lines:,} lines; taken for a keyword of one source each"
    yield from _refusal(read.lines)
    yield (
        f"{tasks:,} tasks in {batches:,} batches of up to {read.batch_size}, "
        f"sharded in {read.parts} part{'' if read.parts == 1 else 's'}"
    )
    slowest = sorted(loads, key=lambda one: -one.seconds)
    for load in slowest[:SHOWN]:
        yield from _load_lines(load, sources[load.source], horizon)
    for load in slowest[SHOWN:]:
        days = f", {quota_words(load.tasks, load.terms.quota)}" if load.days else ""
        took = f"{in_words(load.seconds)} at {load.terms.rate:g}/s{days}"
        yield f"{load.source}: {load.tasks:,} requests, {took}"
    if not tasks:
        return
    yield "on AWS, in US dollars (us-east-1; without Athena, compaction, storage, traffic and free tiers):"
    for service in dict.fromkeys(line.service for line in bill.lines):
        of_it = [line for line in bill.lines if line.service == service and line.usd > 0]
        shown = sorted(of_it, key=lambda line: -line.usd)[:3]
        what = ", ".join(f"{_number(line.count)} {line.what}" for line in shown)
        yield f"  {service:<11}{bill.of(service):>10.4f}  {what}"
    idle = standing(bill.seconds, len(loads)).usd
    yield (
        f"  {'together':<11}{bill.usd:>10.4f}  {bill.usd / tasks * 1e6:,.2f} a million pages; "
        f"{idle:.4f} of it the deployment costs in that time anyway"
    )


SHOWN = 2
"""Sources that the text shows in full, the slowest; the others have a line each."""


def _load_lines(load: Load, loaded: LoadedSource, horizon: float) -> Iterator[str]:
    from pipeline.planning import in_words  # noqa: PLC0415

    terms, paging = load.terms, loaded.source.spec.paging
    pace = "at" if load.tasks / terms.speed >= load.spread else "by its spread; asked at most at"
    yield (
        f"{load.source}: {in_words(load.seconds)} {pace} {terms.rate:g}/s; "
        f"{paging.size} results a page, {paging.most} page{'' if paging.most == 1 else 's'} a keyword at most"
    )
    if terms.reach < terms.rate:
        yield (
            f"  {terms.copies} functions with {terms.concurrency} open requests reach {terms.reach:.2g}/s at "
            f"{terms.latency:g} s an answer: raise concurrency or max_concurrency"
        )
    if load.days:
        yield f"  {quota_words(load.tasks, terms.quota)}"
    queued = load.queued(horizon)
    if queued < load.tasks and not load.spread:
        held = f"{load.tasks - queued:,} in the backlog"
        yield f"  {queued:,} tasks wait in its queue ({in_words(horizon)}), {held}"


def _refusal(lines: int) -> Iterator[str]:
    from pipeline.steps.drop import LINES_A_SECOND  # noqa: PLC0415

    most = int(LINES_A_SECOND * LONGEST_SHARD)
    if lines > most:
        yield f"too many lines for AWS, which refuses it: a function has time for {most:,}; split the file"


LONGEST_SHARD = 800.0
"""As ``bootstrap_aws`` has it, without loading boto3."""


def _number(count: float) -> str:
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"
