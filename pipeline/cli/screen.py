"""What a terminal shows: progress while a run goes on, and the ledger when it ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.catalog import Ledger
from pipeline.local import RunEnd
from pipeline.pacers.pacer import Pacer
from stages.pace import PaceState
from stages.run import Run

STATUSES = ("ok", "refused", "failed")


def console() -> Console:
    """Standard output; lines are never cut where it is no terminal."""
    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(highlight=False, width=1_000)


@contextmanager
def run_progress(
    metrics: Any, run: Run, closed: Callable[[], str], *, shown: bool
) -> Iterator[Callable[[], None]]:
    """A bar for each stage on standard error; gives the function that redraws them.

    ``closed`` says why the source is not asked now, and is empty while it is.
    """
    if not shown:
        yield lambda: None
        return
    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
    )
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), refresh_per_second=8
    ) as progress:
        size = max(1, run.size * run.parts)
        sharding = progress.add_task("shard", total=size, unit="bytes")
        fetching = progress.add_task("fetch", total=None, unit="pages")
        aggregating = progress.add_task("aggregate", total=None, unit="rows")

        def tick() -> None:
            tasks = metrics["tasks"]
            total = tasks if tasks else None
            found = sum(metrics[f"pages_{status}"] for status in (*STATUSES, "found"))
            progress.update(sharding, completed=min(size, metrics["bytes_read"]))
            progress.update(fetching, completed=found, total=total, unit=closed() or "pages")
            progress.update(aggregating, completed=metrics["pages_committed"], total=total)

        yield tick


def closed_note(pacer: Pacer, source: str) -> Callable[[], str]:
    """Says why a source is not asked now and until when; looks once a second, however often it is called."""
    said, looked = "", 0.0

    def note() -> str:
        nonlocal said, looked
        if time.monotonic() - looked >= 1.0:
            looked = time.monotonic()
            said = why_idle(pacer.state(source), time.time())
        return said

    return note


def why_idle(state: PaceState, now: float) -> str:
    """What a bar says of a source that is not asked now; empty of one that is."""
    if state.closed_since:
        return f"pages; closed until {_of_day(state.closed_until)} ({state.reason})"
    if state.spent_until > now:
        return f"pages; the day's quota is spent, the next begins at {_of_day(state.spent_until)}"
    if state.held_until > now:
        return f"pages; the engine allows no more until {_of_day(state.held_until)}"
    return ""


def _of_day(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment).astimezone():%H:%M:%S}"


def ledger_lines(run: Run, end: RunEnd) -> Iterator[str]:
    """The ledger of a run that just ended, a line each."""
    yield from counts(run, end.ledger)
    pages = sum(end.ledger.pages.values())
    if end.ledger.complete:
        yield f"complete in {end.seconds:.1f} s, {pages / max(end.seconds, 0.001):,.0f} pages/s"
    else:
        yield f"incomplete: {missing(end.ledger)}; the same command tries again what is missing"
    for reason, count in Counter(end.dead).most_common(10):
        yield f"failed for good: {count:,} times {reason}"


def counted(number: int, noun: str) -> str:
    """A number of things, as it is said: ``1 batch``, ``1,200 batches``."""
    ending = "" if number == 1 else "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{ending}"


def counts(run: Run, ledger: Ledger) -> Iterator[str]:
    """What the tables say of a run, a line each."""
    rows = ledger.shards
    refused = next((row.refused for row in rows if row.refused), "")
    yield f"run        {run.run_id}  {run.name}  {run.run_date}"
    yield (
        f"options    {run.options.source}, {run.options.locale}, {run.options.device}, "
        f"{run.options.pages} page{'s' if run.options.pages != 1 else ''}"
    )
    if refused:
        yield f"refused    {refused}"
    for name in ("lines", "kept", "duplicates", "rejected", "tasks"):
        yield f"{name:10} {sum(getattr(row, name) for row in rows):,}"
    for status in STATUSES:
        yield f"{status:10} {ledger.pages.get(status, 0):,}"


def missing(ledger: Ledger) -> str:
    """What a run still lacks, in words; empty where it is complete."""
    if not ledger.shards:
        return "not sharded yet"
    parts = ledger.shards[0].parts - len(ledger.shards)
    if parts:
        return f"{parts} of {ledger.shards[0].parts} parts not sharded yet"
    open_tasks = sum(row.tasks for row in ledger.shards) - sum(ledger.pages.values())
    if open_tasks < 0:
        return f"{-open_tasks:,} pages more than tasks, which is a defect"
    return f"{open_tasks:,} tasks without a page" if open_tasks else ""
