"""What a look-up asks for, read from its expression: columns that equal a value or lie within bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import eq, ge, le
from typing import Any

import msgspec

_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "EqualTo": eq,
    "GreaterThanOrEqual": ge,
    "LessThanOrEqual": le,
}


def contains(value: Any, among: frozenset[Any]) -> bool:
    """Whether a value is one of several."""
    return value in among


class Bounds(msgspec.Struct, frozen=True):
    """Conditions that all have to hold."""

    conditions: tuple[tuple[str, Callable[[Any, Any], bool], Any], ...]

    def hold(self, row: Mapping[str, Any]) -> bool:
        """Whether they do for a row."""
        return all(test(row[column], value) for column, test, value in self.conditions)


def bounds_of(where: Any) -> Bounds:
    """The conditions of a catalog's expression. ``TypeError`` for a kind that no look-up of ours has."""
    waiting, found = [where], []
    while waiting:
        one = waiting.pop()
        kind = type(one).__name__
        if kind == "And":
            waiting += [one.left, one.right]
        elif kind in _TESTS:
            found.append((one.term.name, _TESTS[kind], one.literal.value))
        elif kind == "In":
            found.append((one.term.name, contains, frozenset(literal.value for literal in one.literals)))
        else:
            raise TypeError(f"the simulated catalog does not know {kind}")
    return Bounds(tuple(found))
