"""HTML that cannot be broken out of: whatever is no ``Html`` yet is text, and is escaped."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

MAX_TEXT = 2_000
"""Characters that are shown of a text that somebody else wrote."""

NOTHING = "—"
"""In the place of what is not known."""

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
_VOID = {"br", "meta"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def html(value: object) -> Html:
    """A value as markup, cut where it is long: it may be anybody's."""
    return value if isinstance(value, Html) else whole(bounded(str(value)))


def bounded(text: str) -> str:
    """So much of somebody else's text as a page has room for."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def whole(value: object) -> Html:
    """A value as markup to its last letter: half a path of a drawing is another drawing.

    What commands a reader's browser or turns its text around is replaced.
    """
    text = str(value)
    if not text.isprintable():
        text = "".join(mark if _is_harmless(mark) else "\ufffd" for mark in text)
    return Html(text.translate(_ESCAPES))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """An element; ``class_`` and ``text_anchor`` are the attributes ``class`` and ``text-anchor``."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{whole(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{joined(children)}</{name}>")


def joined(parts: Iterable[object]) -> Html:
    """Values one after the other."""
    return Html("".join(html(part) for part in parts))


def table(
    caption: str,
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    numbers: int = 99,
    roomy: bool = False,
) -> Html:
    """A table whose first column names its rows; from column ``numbers`` on they are numbers.

    ``roomy`` columns hold long texts.

    It moves sideways within itself where the page is too narrow, also by keyboard.
    """
    top = tag("tr", *(tag("th", one, scope="col", class_=_side(at, numbers)) for at, one in enumerate(head)))
    lines = []
    for first, *others in rows:
        cells = (tag("td", one, class_=_side(at, numbers)) for at, one in enumerate(others, 1))
        lines.append(tag("tr", tag("th", first, scope="row"), *cells))
    inner = tag("table", tag("caption", caption), tag("thead", top), tag("tbody", *lines))
    kind = "wide roomy" if roomy else "wide"
    return tag("div", inner, class_=kind, tabindex=0, role="region", aria_label=caption)


def badge(text: str, kind: str) -> Html:
    """A word that stands out; it is a word, so that nobody has to tell colours apart."""
    return tag("span", text, class_=f"badge {kind}")


def sentence(text: object) -> Html:
    """Words that may be long, in a table whose cells keep to one line."""
    return tag("span", text, class_="said")


def duration(seconds: float | None) -> str:
    """Seconds for people: ``45 s``, ``5 min``, ``1 h 30 min``; a dash for None."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{_short(seconds)} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "min"), (left if not hours else 0, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def milliseconds(given: float | None) -> str:
    """Milliseconds for people: ``250 ms``, ``1.25 s``; a dash for None."""
    if given is None or not math.isfinite(given):
        return NOTHING
    return f"{_short(given)} ms" if abs(given) < 1000 else duration(given / 1000)


def moment(seconds: float, *, whole: bool = True) -> str:
    """A time in UTC: ``2027-01-15 08:00:00``, or without the day."""
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return "at no time"
    return f"{at:%Y-%m-%d %H:%M:%S}" if whole else f"{at:%H:%M:%S}"


def percent(share: float) -> str:
    """A share of 1 as per cent."""
    return f"{100 * share:.0f}%"


def _short(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _number(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def _side(at: int, numbers: int) -> str | None:
    return "number" if at >= numbers else None


def _is_harmless(mark: str) -> bool:
    if mark in "\n\t":
        return True
    return (mark.isprintable() or mark.isspace()) and unicodedata.category(mark) != "Cc"
