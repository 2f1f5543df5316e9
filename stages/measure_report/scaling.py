"""The section that says how quickly a tree of functions spreads over environments."""

from __future__ import annotations

from collections.abc import Sequence

from stages.measure_report.conditions import limit_of, limit_words
from stages.measure_report.delays import delays
from stages.measure_report.figures import Level, Measured, levels, most_at_once
from stages.measure_report.markup import Html, joined, milliseconds, table, tag
from stages.measure_report.running import running

BOOTS = (
    "Boots: kernels that were started. Each environment of Lambda is a microVM with a kernel of its own, so "
    "they count microVMs; how many machines carry them is not to be seen from within."
)
AGAIN = (
    "Again: messages that were delivered more than once, since an earlier delivery ended early or was given "
    "back. Lambda tries throttled ones again by itself: its metric Throttles counts them, no probe sees them."
)


def scaling_section(one: Measured, key: str) -> tuple[list[tuple[str, str]], Html]:
    """The tiles of the section, and what stands below them."""
    found = levels(one.rows)
    environments = {row.environment for row in one.rows}
    new = {row.environment for row in one.rows if row.cold}
    worst = max((level.p99 for level in found if level.p99 is not None), default=None)
    tiles = [
        ("Most at once", f"{most_at_once(one.rows):,}"),
        ("Account's limit", limit_words(one.rows)),
        ("Environments", f"{len(environments):,}, {len(new):,} new"),
        ("MicroVMs (boots)", f"{len({row.boot_id for row in one.rows} - {''}):,}"),
        ("Slowest level's p99", milliseconds(worst)),
    ]
    drawn = (
        running(f"{key}-running", one.rows, limit_of(one.rows)),
        delays(f"{key}-delays", [("", found)]),
    )
    plots = tag("div", *(one for one in drawn if one is not None), class_="plots")
    notes = [tag("p", words, class_="note") for words in (BOOTS, AGAIN)]
    return tiles, joined((plots, left_out_note(found), _levels(found), *notes))


def left_out_note(found: Sequence[Level]) -> Html | str:
    """How many probes stand in no delay and no plot; nothing where it is none."""
    count = sum(level.repeated for level in found)
    if not count:
        return ""
    told = (
        "1 probe came with a message that was delivered again: it is"
        if count == 1
        else f"{count:,} probes came with messages that were delivered again: they are"
    )
    why = "left out of the delays, since the queue made them wait; with what they sent, of the plot over time"
    return tag("p", f"{told} in the counts below, and {why}.", class_="note")


def _levels(found: Sequence[Level]) -> Html:
    head = (
        *("Level", "Probes", "Environments", "New", "Most at once", "Boots", "Addresses"),
        *("Delay p50", "p90", "p99", "Again", "Errors"),
    )
    rows = [
        (
            f"{one.level}",
            *(f"{count:,}" for count in (one.probes, one.environments, one.new, one.most_at_once)),
            one.boots or "unknown",
            one.addresses or "not asked",
            *(milliseconds(delay) for delay in (one.p50, one.p90, one.p99)),
            f"{one.repeated:,}",
            f"{one.errors:,}",
        )
        for one in found
    ]
    return table("Level by level", head, rows, numbers=1)
