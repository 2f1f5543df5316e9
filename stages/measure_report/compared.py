"""Two dates side by side, with what changed marked by a word."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stages.measure import Reading
from stages.measure_report.conditions import conditions
from stages.measure_report.delays import delays
from stages.measure_report.environment import COLUMNS, configuration, readings_of, shown
from stages.measure_report.figures import Kept, Measured, kept, levels, steps
from stages.measure_report.markup import (
    NOTHING,
    Html,
    badge,
    duration,
    joined,
    milliseconds,
    moment,
    percent,
    sentence,
    table,
    tag,
)
from stages.measure_report.scaling import left_out_note
from stages.measure_report.survival import Series, survival

SLOWER = 0.2
"""By which part of itself a delay or a count has to change to be called changed."""

CHANCE = 2.0
"""Standard deviations by which a count has to change beside, since counts differ by themselves."""

PLACE = ("memory_kb", "memory_limit_bytes", "disks", "limits", "user", "python")
"""Further readings that are properties of the place; the others are other ones each time."""


def compared_section(older: Measured, newer: Measured, key: str) -> Html:
    """Two experiments of one kind. Where nothing can be compared, it says so."""
    dates = (day_of(older), day_of(newer))
    match newer.kind:
        case "environment":
            return _environments(older, newer, dates)
        case "lifetime":
            return _lifetimes(older, newer, dates, key)
        case "scaling":
            return _scalings(older, newer, dates, key)


def _conditions(older: Measured, newer: Measured, dates: tuple[str, str]) -> Html:
    """Whether the two are of one kind in more than their name."""
    rows = [
        (name, sentence(before), sentence(after), "same" if before == after else badge("another", "changed"))
        for (name, before), (_, after) in zip(conditions(older), conditions(newer), strict=True)
    ]
    days = (dates[0][:10], dates[1][:10])
    head = ("Condition", *(days if days[0] != days[1] else dates), "Same")
    return table("Measured under these conditions", head, rows)


def day_of(one: Measured) -> str:
    """When an experiment began, as its name in a comparison."""
    return moment(one.rows[0].started_at)[:16]


def _environments(older: Measured, newer: Measured, dates: tuple[str, str]) -> Html:
    before = {configuration(row): row for row in older.rows}
    after = {configuration(row): row for row in newer.rows}
    both = [name for name in after if name in before]
    if not both:
        return _nothing("No configuration was measured on both dates.")
    head = ("Reading", *dates, "Changed")
    return joined(table(name, head, _properties(before[name], after[name]), roomy=True) for name in both)


def _properties(before: Reading, after: Reading) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for name, tell in COLUMNS:
        rows.append((name, tell(before), tell(after), _changed(tell(before) != tell(after))))
    old, new = readings_of(before), readings_of(after)
    for name in PLACE:
        if name in old or name in new:
            one, other = old.get(name), new.get(name)
            words = name.replace("_", " ").removesuffix(" bytes").removesuffix(" kb").capitalize()
            # What is free on a disk is another figure each time.
            same = _standing(one) == _standing(other)
            rows.append((words, shown(one, name), shown(other, name), _changed(not same)))
    return rows


def _standing(value: object) -> object:
    if isinstance(value, list):
        return [_standing(one) for one in value]
    if isinstance(value, dict):
        return {name: _standing(one) for name, one in value.items() if not str(name).startswith("free")}
    return value


def _lifetimes(older: Measured, newer: Measured, dates: tuple[str, str], key: str) -> Html:
    before, after = ({point.pause_s: point for point in kept(steps(one.rows))} for one in (older, newer))
    if not before or not after:
        return _nothing("On one of the dates no probe came after a pause.")
    both = [
        Series(day, tuple(points.values()), tone)
        for tone, (day, points) in enumerate(zip(dates, (before, after), strict=True), 1)
    ]
    words = ("Environment kept, all copies together,", "Share of probes that met the one before")
    drawn = survival(f"{key}-kept", *words, both)
    rows = [
        (
            duration(pause),
            _share(before.get(pause)),
            _share(after.get(pause)),
            _moved(before.get(pause), after.get(pause)),
        )
        for pause in sorted({*before, *after})
    ]
    note = "Changed: the 95% intervals of the two dates do not meet. Anything less may be chance."
    head = ("Pause", *dates, "Changed")
    return joined(
        (
            tag("div", drawn, _conditions(older, newer, dates), class_="plots"),
            table("Same environment after a pause, on both dates", head, rows, numbers=1),
            tag("p", note, class_="note"),
        )
    )


def _share(point: Kept | None) -> str:
    return f"{point.same} of {point.probes} ({percent(point.share)})" if point else "not measured"


def _moved(before: Kept | None, after: Kept | None) -> object:
    if before is None or after is None:
        return NOTHING
    points = f"{100 * (after.share - before.share):+.0f} points"
    apart = before.interval[1] < after.interval[0] or after.interval[1] < before.interval[0]
    if apart:
        return badge(f"changed, {points}", "changed")
    return points if before.share != after.share else "same"


def _scalings(older: Measured, newer: Measured, dates: tuple[str, str], key: str) -> Html:
    before, after = ({level.level: level for level in levels(one.rows)} for one in (older, newer))
    both = sorted(before.keys() & after.keys())
    if not both:
        return _nothing("No level was measured on both dates.")
    drawn = delays(
        f"{key}-delays", list(zip(dates, (tuple(before.values()), tuple(after.values())), strict=True))
    )
    rows: list[Sequence[object]] = []
    for number in both:
        old, new = before[number], after[number]
        counts = (
            ("probes", old.probes, new.probes),
            ("environments", old.environments, new.environments),
            ("new ones", old.new, new.new),
            ("most at once", old.most_at_once, new.most_at_once),
            ("boots", old.boots, new.boots),
            ("errors", old.errors, new.errors),
        )
        rows += [
            (f"level {number}, {name}", f"{one:,}", f"{two:,}", _count(one, two, plan=name == "probes"))
            for name, one, two in counts
            if one != two
        ]
        waits = (("p50", old.p50, new.p50), ("p90", old.p90, new.p90), ("p99", old.p99, new.p99))
        rows += [
            (f"level {number}, delay {name}", milliseconds(one), milliseconds(two), _wait(one, two))
            for name, one, two in waits
        ]
    note = (
        f"Changed: a number of probes that differs, a delay that differs by more than {percent(SLOWER)}, and "
        "another count that differs by as much and by more than chance (two standard deviations). "
        "Counts that are the same on both dates are left out."
    )
    return joined(
        (
            tag(
                "div",
                drawn if drawn is not None else "",
                _conditions(older, newer, dates),
                class_="plots",
            ),
            left_out_note((*before.values(), *after.values())),
            table("Level by level, on both dates", ("Figure", *dates, "Changed"), rows, numbers=1),
            tag("p", note, class_="note"),
        )
    )


def _count(one: int, two: int, *, plan: bool) -> object:
    """How many probes there are is planned; every other count is a little different each time."""
    if one == two:
        return "same"
    much = abs(two - one) > max(SLOWER * one, CHANCE * math.sqrt(one + two))
    return badge(f"changed, {two - one:+,}", "changed") if plan or much else f"{two - one:+,}"


def _wait(one: float | None, two: float | None) -> object:
    if one is None or two is None:
        return NOTHING
    if one <= 0:
        return "same" if one == two else badge("changed", "changed")
    part = (two - one) / one
    return badge(f"changed, {100 * part:+.0f}%", "changed") if abs(part) > SLOWER else f"{100 * part:+.0f}%"


def _changed(told: bool) -> object:  # noqa: FBT001  # the answer itself
    return badge("changed", "changed") if told else "same"


def _nothing(words: str) -> Html:
    return tag("p", f"{words} There is nothing to compare.", class_="note")
