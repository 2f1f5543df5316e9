"""Figures: what a benchmark gives, as rows of the printed table and of ``build/bench.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec
from rich.table import Table


class Figure(msgspec.Struct, frozen=True):
    """One measured value; ``floor`` is the same work by hand, ``peers`` others at it, all in ``unit``.

    ``at_most`` says that less is better; it shows in the table and is not written.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    goal: float | None = None
    peers: Mapping[str, float] = {}
    at_most: bool = False

    @property
    def missed(self) -> bool:
        """Whether the goal was not reached."""
        if self.goal is None:
            return False
        return self.value > self.goal if self.at_most else self.value < self.goal


class Failed(Exception):
    """A contender failed, or gave other answers than it should: there is no figure."""


def middle(values: Iterable[float]) -> float:
    """The median."""
    return float(median(values))


def write_figures(figures: Sequence[Figure], path: Path) -> None:
    """Write what was measured, and nothing else, as a list."""
    names = [name for name in Figure.__struct_fields__ if name != "at_most"]
    rows = [{name: _rounded(getattr(figure, name)) for name in names} for figure in figures]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n")


def figures_table(figures: Sequence[Figure]) -> Table:
    """The figures as a table for the terminal."""
    table = Table("name", "value", "unit", "floor", "goal", "", "peers", title="Measured on this machine")
    for figure in figures:
        sign = "≤ " if figure.at_most else "≥ "
        table.add_row(
            figure.name,
            _shown(figure.value),
            figure.unit,
            _shown(figure.floor) if figure.floor is not None else "",
            sign + _shown(figure.goal) if figure.goal is not None else "",
            "missed" if figure.missed else "",
            ", ".join(f"{name} {_shown(value)}" for name, value in figure.peers.items()),
        )
    return table


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.4g}") if abs(value) < 1000 else round(value)
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    return value


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
