"""What a terminal shows of measurements: each kind of experiment as a table of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from rich.table import Table

from pipeline.cli.screen import console, counted
from pipeline.measure.environment import Seen
from pipeline.measure.experiments import Progress
from stages.measure import Experiment, Reading
from stages.measure_plan import size_of_tree
from stages.measure_report.figures import kept, levels, steps, unproven
from stages.measure_report.markup import duration, milliseconds, moment

NAMED = 5
"""Probes that are named where more may be meant."""


def show_environment(seen: Iterable[Seen]) -> int:
    """A configuration after the other, as they come; gives how many had no answer."""
    died = 0
    for one in seen:
        print(f"{one.function}, {one.memory_mb} MB")
        if one.reading is None:
            print(f"  no answer    {one.error}")
            died += 1
            continue
        for name, told in _facts(one.reading):
            print(f"  {name:12} {told}")
    return died


def _facts(row: Reading) -> Iterator[tuple[str, object]]:
    more: dict[str, Any] = msgspec.json.decode(row.readings)
    yield "system", f"{row.os_release}, kernel {row.kernel}"
    yield "processor", f"{row.cpu_model}, {row.cpu_count} seen, {row.architecture}"
    limit = more["memory_limit_bytes"]
    total = more["memory_kb"].get("MemTotal", 0) / 1024
    limited = f"limit {limit / 2**20:,.0f} MB" if limit is not None else "no limit of its group"
    yield "memory", f"{row.memory_mb} MB configured, {total:,.0f} MB in the machine, {limited}"
    for disk in more["disks"]:
        if disk.get("bytes"):
            free = f"{disk['free_bytes'] / 2**20:,.0f} of {disk['bytes'] / 2**20:,.0f} MB free"
            told = "" if disk["writable"] else ", read-only"
            yield "disk", f"{disk['path']} ({disk['type']}): {free}{told}"
    yield "processes", ", ".join(f"{one['id']} {one['name']}" for one in more["processes"])
    user, python = more["user"], more["python"]
    yield "user", f"{user['name'] or 'without a name'} ({user['id']}, group {user['group']})"
    yield "runtime", f"Python {python['version']}, {python['executable']} in {python['folder']}"
    yield "paths", " ".join(python["path"])
    yield "boot", row.boot_id
    start = "cold" if row.cold else f"warm, invocation {row.invocation}"
    yield "environment", f"{row.environment}, {start}"
    idle = f", first used {milliseconds(row.idle_ms)} later" if row.idle_ms is not None else ""
    delay = milliseconds(row.delay_ms)
    yield "start", f"initialised in {milliseconds(row.init_ms)}{idle}, delay {delay}"
    if row.address or row.echo_error:
        yield "address", row.address or row.echo_error


def show_lifetime(readings: Sequence[Reading]) -> None:
    """The talk's table, and what was still there after each pause."""
    table = Table("time (UTC)", "function", "pause", "environment", "nth", "address", "kept")
    told = steps(readings)
    for step in told:
        row = step.reading
        kept_ = {"first": "", "kept": "yes", "new": "no"}.get(step.verdict, step.verdict)
        table.add_row(
            *(moment(row.started_at), row.function, duration(row.pause_s), row.environment),
            *(str(row.invocation), row.address or row.echo_error or "", kept_),
        )
    screen = console()
    screen.print(table)
    addresses = {one.pause_s: one for one in kept(told, address=True)}
    for one in kept(told):
        line = f"after {duration(one.pause_s)}: {one.same} of {one.probes} environments kept"
        seen = addresses.get(one.pause_s)
        screen.print(line + (f", {seen.same} of {seen.probes} addresses" if seen else ""))
    for pause, (disturbed, unpaired) in unproven(told).items():
        screen.print(
            f"after {duration(pause)}: {disturbed} disturbed and {unpaired} after a missing one, not counted"
        )


def show_scaling(experiment: Experiment, readings: Sequence[Reading], throttles: str) -> None:
    """The tree level by level, beside the account's limit and what is known of throttles."""
    table = Table("level", "probes", "at once", "environments", "new", "boots", "addresses")
    for name in ("delay p50", "p90", "p99", "delivered again", "errors"):
        table.add_column(name)
    for one in levels(readings):
        counts = (one.level, one.probes, one.most_at_once, one.environments, one.new, one.boots)
        delays = (milliseconds(one.p50), milliseconds(one.p90), milliseconds(one.p99))
        table.add_row(*(f"{count:,}" for count in counts), str(one.addresses or ""), *delays, *_bad(one))
    screen = console()
    screen.print(table)
    size = size_of_tree(experiment.levels, experiment.width)
    screen.print(f"up to {size:,} at once were asked for; the account allows {experiment.limit:,}")
    screen.print(f"throttles: {throttles}")


def _bad(level: Any) -> tuple[str, str]:
    return f"{level.repeated:,}", f"{level.errors:,}"


def progress_lines(experiment: Experiment, seen: Progress, now: float) -> Iterator[str]:
    """How far an experiment is, a line each."""
    yield f"experiment {experiment.experiment}: {seen.done:,} of {counted(seen.planned, 'probe')} answered"
    if seen.next_at is not None:
        yield f"the next is due at {moment(seen.next_at)} UTC, in {duration(round(seen.next_at - now))}"
    if seen.missing:
        dead = counted(len(seen.missing), "probe")
        yield f"no answer from {dead}, which died or never began: {_named(seen.missing)}"
    if seen.again:
        told = f"{counted(len(seen.again), 'probe')} told to run more than once, by what came twice"
        yield f"{told} (a schedule, a message); the first answer counts: {_named(seen.again)}"


def _named(probes: Sequence[str]) -> str:
    more = f" and {len(probes) - NAMED:,} more" if len(probes) > NAMED else ""
    return ", ".join(probes[:NAMED]) + more
