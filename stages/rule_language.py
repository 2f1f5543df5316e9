"""What a rule language is, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

Find = Callable[[Any], Iterable[Any]]
"""The things a selector finds below a thing, in document order."""

Read = Callable[[Any], str]
"""One value of a found thing, as text."""


Damage = Literal["", "cut", "deep"]
"""What is missing of a parsed answer: nothing, its end, or what stands deeper than its parser goes."""


class Language(msgspec.Struct, frozen=True):
    """One rule language. ``find_first`` gives the first match or None and may stop there.

    ``nesting`` is how many of some found things stand within each other, ``damage`` says whether a parser
    that mends what it reads has left something out.
    """

    parse: Callable[[bytes], Any]
    find: Callable[[str], Find]
    find_first: Callable[[str], Callable[[Any], Any]]
    read: Callable[[str], Read]
    nesting: Callable[[list[Any]], int] = lambda _found: 1
    damage: Callable[[Any, bytes], Damage] = lambda _root, _body: ""


def plain(value: object) -> str:
    """A number or truth value as text; whole numbers without a point."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def squeeze(text: str) -> str:
    """Text with its white space collapsed and trimmed."""
    return " ".join(text.split())


def nesting(found: list[Any], above: Callable[[Any], Any], key: Callable[[Any], Any]) -> int:
    """The most of these that stand within each other; no element is climbed over twice."""
    counted = {key(one) for one in found}
    levels: dict[Any, int] = {}
    for one in found:
        node, path = one, []
        while node is not None and key(node) not in levels:
            path.append(key(node))
            node = above(node)
        level = levels[key(node)] if node is not None else 0
        for passed in reversed(path):
            level += passed in counted
            levels[passed] = level
    return max((levels[one] for one in counted), default=0)
