"""An answer on a terminal: a table as wide as it is, or a record a row where columns are too many."""

from __future__ import annotations

import unicodedata
from itertools import chain, islice
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.query.engine import Answer, Column
from pipeline.query.formats import text_of

MOST_ROWS = 50
_NARROWEST = 9
"""Characters of a column, its padding included, below which a table says nothing any more."""

_PADDING = 3
"""Characters between two columns."""

_NUMBERS = ("tinyint", "smallint", "integer", "bigint", "hugeint", "float", "double", "decimal")


def write_table(answer: Answer, out: TextIO, *, most: int = MOST_ROWS, width: int | None = None) -> int:
    """Show at most so many rows, and say when there are more; gives the number of rows shown.

    ``width`` is the terminal's own where none is given. Control characters are never written through.
    """
    console = Console(file=out, width=width, highlight=False, markup=False, emoji=False)
    rows = list(islice(chain.from_iterable(answer.chunks()), most + 1))
    shown = rows[:most]
    if len(answer.columns) * _NARROWEST <= console.width or not shown:
        console.print(_table(answer.columns, shown, console.width))
    else:
        for number, row in enumerate(shown, 1):
            console.print(Text(f"row {number}", style="bold"))
            console.print(_record(answer.columns, row))
    if len(rows) > most:
        console.print(
            f"the first {most:,} rows; there are more: LIMIT them, or write them as csv, json or parquet"
        )
    else:
        console.print("1 row" if len(shown) == 1 else f"{len(shown):,} rows")
    return len(shown)


def _table(columns: tuple[Column, ...], rows: list[tuple[Any, ...]], width: int) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    cells = [[_cell(value) for value in row] for row in rows]
    names = [Text(_printable(column.name)) for column in columns]
    longest = [max(cell.cell_len for cell in column) for column in zip(names, *cells, strict=True)]
    for column, name, most in zip(columns, names, _fitted(longest, width), strict=True):
        number = column.type.startswith(_NUMBERS) and "[" not in column.type
        table.add_column(
            name, justify="right" if number else "left", overflow="ellipsis", no_wrap=True, width=most
        )
    for row in cells:
        table.add_row(*row)
    return table


def _fitted(longest: list[int], width: int) -> list[int]:
    """Widths that fit side by side: the widest give way first, so that short values stay whole."""
    room = width - _PADDING * len(longest)
    fitted = list(longest)
    while sum(fitted) > room and max(fitted) > 1:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _record(columns: tuple[Column, ...], row: tuple[Any, ...]) -> Table:
    record = Table.grid(padding=(0, 2))
    for column, value in zip(columns, row, strict=True):
        record.add_row(Text(_printable(column.name), style="dim"), _cell(value))
    return record


def _cell(value: Any) -> Text:
    return Text("NULL", style="dim") if value is None else Text(_printable(text_of(value)))


def _printable(text: str) -> str:
    """Text from the web without what would command the terminal: escapes, and turns of direction."""
    if text.isprintable():
        return text
    return "".join(
        mark if mark.isprintable() else " " if mark.isspace() else _stand_in(mark) for mark in text
    )


def _stand_in(mark: str) -> str:
    # Joiners shape letters and emoji; everything else that cannot be printed is shown to be there.
    return mark if mark in "\u200c\u200d" else "\ufffd" if unicodedata.category(mark) != "Cf" else ""
