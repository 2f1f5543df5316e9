"""The section that says how long an environment and its address stay: what was still there after a pause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stages.measure_report.axes import TONES
from stages.measure_report.conditions import probes_of
from stages.measure_report.figures import Kept, Measured, Step, Verdict, by_copy, kept, steps, unproven
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
from stages.measure_report.strip import strip
from stages.measure_report.survival import Series, survival

VERDICTS: dict[Verdict, object] = {
    "first": "first",
    "kept": badge("same", "same"),
    "new": badge("new", "new"),
    "disturbed": badge("disturbed", "changed"),
    "unpaired": "not compared",
}

UNPROVEN = (
    "Not counted: a probe whose pause was disturbed, since something else ran in its environment, its "
    "schedule or the one before fired twice, or it rested much longer or shorter than planned; and one after "
    "a missing one, since it rested for two pauses."
)

NO_PAIR = "No probe has come after a pause yet that was as planned, so nothing can be compared."

OPEN = 40
"""Probes up to which their table is open from the start."""


def lifetime_section(one: Measured, key: str) -> tuple[list[tuple[str, str]], Html]:
    """The tiles of the section, and what stands below them."""
    found = steps(one.rows)
    compared = kept(found)
    letters = names_of([row.environment for row in one.rows])
    tiles = [
        ("Probes", probes_of(one.rows).rpartition(" ")[0]),
        ("Environments seen", f"{len(letters)}"),
        (
            "Addresses seen",
            f"{len({row.address for row in one.rows} - {None})}" if _asked(one) else "not asked",
        ),
        ("Kept every time, up to", surely_kept(compared)),
    ]
    parts: list[object] = []
    if compared:
        parts = [tag("div", *_plots(found, letters, key), class_="plots")]
    else:
        parts = [tag("p", NO_PAIR, class_="note")]
        parts.append(tag("div", strip(f"{key}-strip", by_copy(found), letters), class_="plots"))
    if compared or unproven(found):
        parts.append(_by_pause(found))
    if unproven(found):
        parts.append(tag("p", UNPROVEN, class_="note"))
    return tiles, joined((*parts, _probes(found, letters)))


def surely_kept(compared: Sequence[Kept]) -> str:
    """The longest pause up to which the environment was there every time, with how often that was seen."""
    last = NOTHING
    for point in compared:
        if point.same < point.probes:
            break
        last = f"{duration(point.pause_s)} ({point.same} of {point.probes})"
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
        points = {point.pause_s: point for point in kept(some)}
        addresses = {point.pause_s: point for point in kept(some, address=True)}
        left_out = unproven(some)
        rows += [
            (
                copy,
                duration(pause),
                *_point(points.get(pause), [step for step in some if step.reading.pause_s == pause]),
                f"{addresses[pause].same} of {addresses[pause].probes}"
                if pause in addresses
                else "not known",
                _left_out(*left_out.get(pause, (0, 0))),
            )
            for pause in sorted({*points, *left_out})
        ]
    head = (
        *("Copy", "Pause", "Rested", "Probes", "Same environment", "95% interval", "Same address"),
        "Not counted",
    )
    return table("What was still there after a pause", head, rows, numbers=1)


def _point(point: Kept | None, steps_: Sequence[Step]) -> tuple[object, ...]:
    if point is None:
        return NOTHING, 0, NOTHING, NOTHING
    rested = [step.rested_s for step in steps_ if step.same_environment is not None]
    mean = sum(rest for rest in rested if rest is not None) / len(rested)
    low, high = point.interval
    return (
        duration(mean),
        point.probes,
        f"{point.same} ({percent(point.share)})",
        f"{percent(low)} to {percent(high)}",
    )


def _left_out(disturbed: int, unpaired: int) -> str:
    said = ((disturbed, "disturbed"), (unpaired, "after a missing one"))
    return ", ".join(f"{count} {words}" for count, words in said if count) or "none"


def _probes(found: Sequence[Step], letters: Mapping[str, str]) -> Html:
    days = {moment(step.reading.started_at)[:10] for step in found}
    rows = [
        (
            moment(step.reading.started_at, whole=len(days) > 1),
            step.reading.function,
            duration(step.reading.pause_s),
            duration(step.rested_s),
            _environment(step, letters),
            _address(step),
        )
        for step in found
    ]
    head = ("Time (UTC)", "Copy", "Pause", "Rested", "Environment", "Address")
    on = f" on {min(days)}" if len(days) == 1 else ""
    whole = table(f"The probes in their order{on}", head, rows)
    return tag(
        "details", tag("summary", f"Every probe ({len(rows)})"), whole, open="" if len(rows) <= OPEN else None
    )


def _environment(step: Step, letters: Mapping[str, str]) -> Html:
    row = step.reading
    parts: list[object] = [tag("strong", letters[row.environment]), tag("code", row.environment[:8])]
    parts.append(VERDICTS[step.verdict])
    if row.fired > 1:
        parts.append(badge(f"fired {row.fired} times", "changed"))
    if row.error is not None:
        parts += [badge("failed", "new"), sentence(row.error)]
    return _spaced(parts)


def _address(step: Step) -> Html:
    told = sentence(step.reading.address or step.reading.echo_error or "not asked")
    if step.same_address is None:
        return told
    # First, so that it is seen however long the address is.
    return _spaced((badge("same", "same") if step.same_address else badge("new", "new"), told))


def _spaced(parts: Sequence[object]) -> Html:
    return joined(part for at, one in enumerate(parts) for part in ((" ", one) if at else (one,)))


def _asked(one: Measured) -> bool:
    return any(row.address is not None or row.echo_error is not None for row in one.rows)
