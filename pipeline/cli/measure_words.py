"""The words of ``serpline measure``: read into pauses, sizes and numbers, or a sentence says why not."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from stages.measure import LONGEST_HOLD, seconds_of

Said = TypeVar("Said")

_MEMORIES = range(128, 10_241)
"""Megabytes that Lambda gives."""


def told(read: Callable[[str], Said]) -> Callable[[str], Said]:
    """A reader of a word whose own sentence reaches the user."""

    def reader(text: str) -> Said:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return reader


def pauses(text: str) -> tuple[float, ...]:
    """``5m,10m`` in seconds."""
    return tuple(seconds_of(word.strip()) for word in text.split(","))


def hold(text: str) -> float:
    """``5s`` in seconds, as long as a probe may stay."""
    seconds = seconds_of(text)
    if seconds > LONGEST_HOLD:
        raise ValueError(f"a probe holds for {LONGEST_HOLD:.0f}s at most")
    return seconds


def memories(text: str) -> tuple[int, ...]:
    """``128,512`` in megabytes."""
    sizes = tuple(count(word.strip()) for word in text.split(","))
    if any(size not in _MEMORIES for size in sizes):
        raise ValueError(f"Lambda gives {_MEMORIES[0]} to {_MEMORIES[-1]} MB, as in 128,512,1769")
    return sizes


def count(text: str) -> int:
    """A whole number above 0."""
    if not (text.isascii() and text.isdecimal() and int(text[:9]) > 0 and len(text) < 9):
        raise ValueError(f"{text!r} is no whole number above 0")
    return int(text)
