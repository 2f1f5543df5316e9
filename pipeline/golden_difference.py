"""How a judgement differs from a golden answer's rows: everything at once, a line each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import msgspec

from stages.records import Result

Pair = tuple[int, Result, Result]
"""The place of an expected row, that row, and the one that was read for it."""


def row_differences(wanted: Sequence[Result], got: Sequence[Result]) -> list[str]:
    """What is missing, what is too much, and each field that is another."""
    lines = []
    if len(wanted) != len(got):
        lines.append(f"expected {len(wanted)} results, got {len(got)}")
    pairs, missing, extra = _paired(wanted, got)
    for at, want, have in pairs:
        lines += [
            f"results[{at}].{name}: expected {getattr(want, name)!r}, got {getattr(have, name)!r}"
            for name in msgspec.structs.asdict(want)
            if getattr(want, name) != getattr(have, name)
        ]
    lines += [f"results[{at}] is missing: {_row(want)}" for at, want in missing]
    return lines + [f"too much: {_row(have)}" for have in extra]


def _paired(
    wanted: Sequence[Result], got: Sequence[Result]
) -> tuple[list[Pair], list[tuple[int, Result]], list[Result]]:
    """Rows of the same address and title belong together, then of the same address, title or place.

    So one row that is missing is one line, and not a difference in every row after it.
    """
    waiting, left = list(enumerate(wanted)), list(got)
    pairs: list[Pair] = []
    for key in (_entry, _address, _title, _place):
        for at, want in list(waiting):
            have = next((row for row in left if key(row) == key(want)), None)
            if have is not None:
                waiting.remove((at, want))
                left.remove(have)
                pairs.append((at, want, have))
    return sorted(pairs, key=lambda pair: pair[0]), waiting, left


def _entry(row: Result) -> Hashable:
    return row.kind, row.url, row.title


def _address(row: Result) -> Hashable:
    return row.url


def _title(row: Result) -> Hashable:
    return row.title


def _place(row: Result) -> Hashable:
    return row.kind, row.rank


def _row(row: Result) -> str:
    return f"{row.kind} {row.rank} {row.title!r} {row.url}"
