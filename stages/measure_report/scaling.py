"""The section that says how quickly a tree of functions spreads over environments and hosts."""

from __future__ import annotations

from collections.abc import Sequence

from stages.measure_report.figures import Level, Measured, levels, most_at_once
from stages.measure_report.markup import Html, joined, milliseconds, table, tag
from stages.measure_report.plots import delays, running


def scaling_section(one: Measured, key: str) -> tuple[list[tuple[str, str]], Html]:
    """The tiles of the section, and what stands below them."""
    found = levels(one.rows)
    environments = {row.environment for row in one.rows}
    new = {row.environment for row in one.rows if row.cold}
    worst = max(level.p99 for level in found)
    tiles = [
        ("Most at once", f"{most_at_once(one.rows):,}"),
        ("Environments", f"{len(environments):,}, {len(new):,} new"),
        ("Hosts", f"{len({row.boot_id for row in one.rows} - {''}):,}"),
        ("Slowest level's 99% within", milliseconds(worst)),
    ]
    plots = tag(
        "div", running(f"{key}-running", one.rows), delays(f"{key}-delays", [("", found)]), class_="plots"
    )
    note = "Again: messages delivered more than once, since an earlier delivery was throttled or ended early."
    return tiles, joined((plots, _levels(found), tag("p", note, class_="note")))


def _levels(found: Sequence[Level]) -> Html:
    head = (
        "Level",
        "Probes",
        "Environments",
        "New",
        "Most at once",
        "Hosts",
        "Addresses",
        "Delay p50",
        "p90",
        "p99",
        "Again",
        "Errors",
    )
    rows = [
        (
            f"{one.level}",
            *(f"{count:,}" for count in (one.probes, one.environments, one.new, one.most_at_once)),
            one.hosts or "unknown",
            one.addresses or "not asked",
            *(milliseconds(delay) for delay in (one.p50, one.p90, one.p99)),
            f"{one.repeated:,}",
            f"{one.errors:,}",
        )
        for one in found
    ]
    return table("Level by level", head, rows, numbers=1)
