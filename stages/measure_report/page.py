"""The whole page: a header, a section an experiment, and the comparison of two dates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stages.measure import Reading
from stages.measure_report.compared import compared_section, day_of
from stages.measure_report.conditions import hold_words, missing_note, probes_of, tree_words
from stages.measure_report.environment import environment_section
from stages.measure_report.figures import Measured, measured
from stages.measure_report.lifetime import lifetime_section
from stages.measure_report.markup import Html, duration, moment, tag
from stages.measure_report.scaling import scaling_section
from stages.measure_report.style import STYLE

TITLES = {
    "environment": "What a function runs on",
    "lifetime": "How long an environment lives",
    "scaling": "How quickly functions multiply",
}

LONG = 14
"""Characters from which on a figure is set smaller."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser is told: whatever stood in a reading, this page loads nothing and runs nothing."""


def render_report(rows: Iterable[Reading], other: Iterable[Reading] = ()) -> str:
    """The page of these readings, and their comparison with those of an ``other`` experiment."""
    shown, beside = measured(rows), measured(other)
    found = sorted((*shown, *beside), key=lambda one: (one.rows[0].started_at, one.name))
    parts = [_section(one, f"s{at}") for at, one in enumerate(found, 1)]
    if beside:
        parts.insert(0, _comparison(shown, beside))
    if not found:
        parts = [
            tag("section", tag("p", "There are no readings yet: no probe of this experiment has answered."))
        ]
    title = (
        f"Measurements: {', '.join(dict.fromkeys(one.kind for one in found))}" if found else "Measurements"
    )
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    body = (_header(found), tag("main", *parts), _footer(found))
    return "<!doctype html>\n" + tag("html", tag("head", *head), tag("body", *body), lang="en") + "\n"


def _header(found: Sequence[Measured]) -> Html:
    if not found:
        return tag("header", tag("h1", "Measurements"))
    functions = sorted({row.function for one in found for row in one.rows})
    sizes = sorted({(row.memory_mb, row.architecture) for one in found for row in one.rows})
    places = [f"{size:,} MB {architecture}" for size, architecture in sizes]
    words = f"{_listed(functions)} · {_listed(places)} · {_span(found)} UTC"
    return tag("header", tag("h1", "Measurements"), tag("p", words, class_="meta"))


def _footer(found: Sequence[Measured]) -> Html:
    names = ", ".join(one.name for one in found)
    return tag(
        "footer",
        tag("p", f"All times are UTC. {f'Experiments: {names}. ' if names else ''}"),
        tag(
            "p",
            "The readings are rows of table measurements; views experiments, lifetimes and scaling give the "
            "same numbers.",
        ),
    )


def _section(one: Measured, key: str) -> Html:
    match one.kind:
        case "environment":
            tiles, below = environment_section(one)
        case "lifetime":
            tiles, below = lifetime_section(one, key)
        case "scaling":
            tiles, below = scaling_section(one, key)
    rows = one.rows
    lasted = duration(max(row.finished_at for row in rows) - rows[0].started_at)
    words = f"{one.name} · {moment(rows[0].started_at)} · {probes_of(rows)} in {lasted}"
    if one.kind == "scaling":
        words = f"{words} · tree {tree_words(rows)} · each held {hold_words(rows)}"
    return tag(
        "section",
        tag("h2", TITLES[one.kind], id=f"{key}-heading"),
        tag("p", words, class_="meta"),
        tag("ul", *(_tile(*one) for one in tiles), class_="tiles"),
        missing_note(one),
        below,
        aria_labelledby=f"{key}-heading",
    )


def _tile(name: str, told: str) -> Html:
    return tag("li", tag("span", name), tag("strong", told, class_="long" if len(told) > LONG else None))


def _comparison(shown: Sequence[Measured], beside: Sequence[Measured]) -> Html:
    """The experiments of one kind, the older first; a sentence where the kinds are different."""
    pairs = [(one, two) for one in shown for two in beside if one.kind == two.kind]
    parts: list[object] = []
    for at, pair in enumerate(pairs, 1):
        older, newer = sorted(pair, key=lambda one: (one.rows[0].started_at, one.name))
        parts += [tag("h3", TITLES[newer.kind]), compared_section(older, newer, f"c{at}")]
    if not pairs:
        kinds = " and ".join(sorted({one.kind for one in (*shown, *beside)}))
        parts = [tag("p", f"Experiments of different kinds ({kinds}) cannot be compared.", class_="note")]
    dates = sorted({day_of(one) for pair in pairs for one in pair})
    heading = f"What changed from {dates[0]} to {dates[-1]}" if len(dates) > 1 else "What changed"
    return tag("section", tag("h2", heading, id="c-heading"), *parts, aria_labelledby="c-heading")


def _span(found: Sequence[Measured]) -> str:
    began = min(one.rows[0].started_at for one in found)
    ended = max(row.finished_at for one in found for row in one.rows)
    first, last = moment(began)[:16], moment(ended)[:16]
    if first == last:
        return first
    if first[:10] == last[:10]:
        last = last[11:]
    return f"{first} to {last}"


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values[:4]) + (f" and {len(values) - 4} more" if len(values) > 4 else "")
