"""``serpline plan``: what a keyword file will take and cost on AWS, before anything is asked."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.cli.run_command import add_options
from pipeline.errors import Misuse
from pipeline.runs import Given, new_options
from pipeline.settings import Settings
from pipeline.source_files import LoadedSource, load_sources, pick_source
from stages.records import Malformed

if TYPE_CHECKING:
    from pipeline.planning import Bill, FileRead, Load, Terms


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

    if min(arguments.copies, arguments.memory) < 1 or arguments.latency <= 0:
        raise Misuse("--copies, --memory and --latency are above 0")
    sources = load_sources(Path(settings.sources) if settings.sources else None)
    name = arguments.source if arguments.source is not None else settings.source
    pick_source(sources, name)
    pages = str(arguments.pages) if arguments.pages is not None else None
    given = Given(name, arguments.locale, arguments.device, pages)
    options, objection = new_options(given, sources, settings.source, settings.device)
    if objection:
        raise Misuse(objection)
    terms = {one: _terms(loaded, arguments, settings, own=one == name) for one, loaded in sources.items()}
    try:
        read = planning.read_file(arguments.file, options, sources, terms[name].rate)
    except Malformed as error:
        raise Misuse(f"{arguments.file.name}: {error}") from error
    except OSError as error:
        raise Misuse(f"{arguments.file} cannot be read: {error.strerror}") from error
    loads = [planning.Load(one, terms[one], tasks, read.batches[one]) for one, tasks in read.tasks.items()]
    fleet = planning.Fleet(horizon=settings.horizon)
    bill = planning.bill(loads, lines=read.lines, parts=read.parts, fleet=fleet)
    if arguments.format == "json":
        said = {"file": arguments.file.name, "read": read, "loads": loads, "bill": bill, "usd": bill.usd}
        print(msgspec.json.format(msgspec.json.encode(said), indent=2).decode())
    else:
        print("\n".join(_lines(arguments.file.name, read, loads, bill, sources, settings.horizon)))
    return 0


def _terms(loaded: LoadedSource, arguments: argparse.Namespace, settings: Settings, *, own: bool) -> Terms:
    """A source's pace: the command's, else the deployment's (``SERPLINE_TERMS``), else its file's."""
    from pipeline.planning import Terms  # noqa: PLC0415

    spec = loaded.source.spec.politeness
    said = settings.terms.get(loaded.source.name)
    rate, concurrency = (said.rate, said.concurrency) if said is not None else (spec.rate, spec.concurrency)
    if own and arguments.rate is not None:
        rate = arguments.rate
    if own and arguments.concurrency is not None:
        concurrency = arguments.concurrency
    if rate <= 0 or concurrency < 1:
        raise Misuse("--rate is above 0 requests a second and --concurrency at least 1")
    return Terms(rate, concurrency, arguments.copies, arguments.latency, arguments.memory)


def _lines(
    name: str,
    read: FileRead,
    loads: list[Load],
    bill: Bill,
    sources: dict[str, LoadedSource],
    horizon: float,
) -> Iterator[str]:
    from pipeline.planning import standing  # noqa: PLC0415

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
    for load in sorted(loads, key=lambda one: -one.seconds)[:SHOWN]:
        yield from _load_lines(load, sources[load.source], horizon)
    if len(loads) > SHOWN:
        yield f"and {len(loads) - SHOWN} more sources, which are done sooner"
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
"""Sources that the text shows in full."""


def _load_lines(load: Load, loaded: LoadedSource, horizon: float) -> Iterator[str]:
    from pipeline.planning import in_words  # noqa: PLC0415

    terms, paging = load.terms, loaded.source.spec.paging
    yield (
        f"{load.source}: {in_words(load.seconds)} at {terms.rate:g}/s; "
        f"{paging.size} results a page, {paging.most} page{'' if paging.most == 1 else 's'} a keyword at most"
    )
    if terms.reach < terms.rate:
        yield (
            f"  {terms.copies} functions with {terms.concurrency} open requests reach {terms.reach:.2g}/s at "
            f"{terms.latency:g} s an answer: raise concurrency or max_concurrency"
        )
    queued = load.queued(horizon)
    if queued < load.tasks:
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
