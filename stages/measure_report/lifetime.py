"""The section that says how long an environment and its address stay: what was still there after a pause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stages.measure_report.figures import Kept, Measured, Step, by_copy, kept, steps
from stages.measure_report.markup import (
    NOTHING,
    Html,
    badge,
    duration,
    joined,
    moment,
    percent,
    sentence,
    table,
    tag,
)
from stages.measure_report.plots import TONES, Series, survival
from stages.measure_report.strip import strip

OPEN = 40
"""Probes up to which their table is open from the start."""


def lifetime_section(one: Measured, key: str) -> tuple[list[tuple[str, str]], Html]:
    """The tiles of the section, and what stands below them."""
    found = steps(one.rows)
    compared = kept(found)
    letters = names_of([row.environment for row in one.rows if row.error is None])
    tiles = [
        ("Probes", f"{len(one.rows)}"),
        ("Environments seen", f"{len(letters)}"),
        (
            "Addresses seen",
            f"{len({row.address for row in one.rows} - {None})}" if _asked(one) else "not asked",
        ),
        ("Kept every time, up to", duration(surely_kept(compared))),
    ]
    parts: list[object] = []
    if compared:
        parts = [tag("div", *_plots(found, letters, key), class_="plots"), _by_pause(found)]
    else:
        parts = [tag("p", "No probe has come after a pause yet, so nothing can be compared.", class_="note")]
        if letters:
            parts.append(tag("div", strip(f"{key}-strip", by_copy(found), letters), class_="plots"))
    return tiles, joined((*parts, _probes(found, letters)))


def surely_kept(compared: Sequence[Kept]) -> float | None:
    """The longest pause up to which the environment was there every time; None where it never was."""
    last = None
    for point in compared:
        if point.same < point.probes:
            break
        last = point.pause_s
    return last


def names_of(values: Sequence[str]) -> dict[str, str]:
    """Short names in the order in which they came: A to Z, then AA and on."""
    names: dict[str, str] = {}
    for value in values:
        if value not in names:
            names[value] = _letters(len(names))
    return names


def _letters(number: int) -> str:
    text = ""
    while number >= 0:
        text = chr(ord("A") + number % 26) + text
        number = number // 26 - 1
    return text


def _plots(found: Sequence[Step], letters: Mapping[str, str], key: str) -> list[Html]:
    copies = by_copy(found)
    drawn = []
    for what, address, words in (
        ("Environment kept", False, "Share of probes that met the environment of the probe before"),
        ("Address kept", True, "Share of probes that had the outgoing address of the probe before"),
    ):
        series = [Series(copy, kept(some, address=address)) for copy, some in copies.items()]
        series = [one for one in series if one.points]
        if len(series) > TONES:
            series = [Series("all copies", kept(found, address=address))]
        if series:
            toned = [Series(one.name, one.points, at) for at, one in enumerate(series, 1)]
            drawn.append(survival(f"{key}-{'address' if address else 'kept'}", what, words, toned))
    return [*drawn, strip(f"{key}-strip", copies, letters)]


def _by_pause(found: Sequence[Step]) -> Html:
    rows: list[Sequence[object]] = []
    for copy, some in by_copy(found).items():
        addresses = {point.pause_s: point for point in kept(some, address=True)}
        for point in kept(some):
            rested = [
                step.rested_s
                for step in some
                if step.reading.pause_s == point.pause_s and step.rested_s is not None
            ]
            low, high = point.interval
            address = addresses.get(point.pause_s)
            rows.append(
                (
                    copy,
                    duration(point.pause_s),
                    duration(sum(rested) / len(rested)),
                    point.probes,
                    f"{point.same} ({percent(point.share)})",
                    f"{percent(low)} to {percent(high)}",
                    f"{address.same} of {address.probes}" if address else "not known",
                )
            )
    head = ("Copy", "Pause", "Rested", "Probes", "Same environment", "95% interval", "Same address")
    return table("What was still there after a pause", head, rows, numbers=1)


def _probes(found: Sequence[Step], letters: Mapping[str, str]) -> Html:
    rows = [
        (
            moment(step.reading.started_at),
            step.reading.function,
            duration(step.reading.pause_s),
            duration(step.rested_s),
            _environment(step, letters),
            _same(step.same_environment, NOTHING if step.reading.error is not None else "first"),
            sentence(step.reading.address or step.reading.echo_error or "not asked"),
            _same(step.same_address, NOTHING),
        )
        for step in sorted(found, key=lambda step: (step.reading.started_at, step.reading.probe))
    ]
    head = (
        "Time (UTC)",
        "Copy",
        "Pause",
        "Rested",
        "Environment",
        "Same or new",
        "Address",
        "Same or new address",
    )
    whole = table("The probes in their order", head, rows)
    return tag(
        "details", tag("summary", f"Every probe ({len(rows)})"), whole, open="" if len(rows) <= OPEN else None
    )


def _environment(step: Step, letters: Mapping[str, str]) -> object:
    if step.reading.error is not None:
        return joined((badge("failed", "new"), " ", sentence(step.reading.error)))
    return joined(
        (tag("strong", letters[step.reading.environment]), " ", tag("code", step.reading.environment[:12]))
    )


def _same(told: bool | None, unknown: str) -> object:  # noqa: FBT001  # the answer itself
    if told is None:
        return unknown
    return badge("same", "same") if told else badge("new", "new")


def _asked(one: Measured) -> bool:
    return any(row.address is not None or row.echo_error is not None for row in one.rows)
