"""Made-up material, the same on every machine: keyword files, and staged pages with their results.

Words are of two syllables from a vocabulary of 512; number n always makes the same keyword, and no
other number makes it. One keyword in twenty is in Chinese characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stages.records import Batch, Page, Result, Task

CJK_EVERY = 20
DUPLICATE_EVERY = 4
RESULTS_A_PAGE = 10
PAGES_A_BATCH = 100

_VOCABULARY = 512
_NUMBERS = 2**27
"""512 words to the third power: as many keywords are told apart by their first three words."""

_SCATTER = 73_244_475
"""Odd, so that multiplying by it modulo 2**27 sends every number to one of its own."""

_LINES_A_WRITE = 100_000
_START = 1_790_000_000.0


def _words() -> list[str]:
    syllables = [consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiou"]
    return [
        syllables[n % 90] + syllables[(n * 7 + n // 90) % 90] + "nrst"[n % 4] * (n % 3 == 0)
        for n in range(_VOCABULARY)
    ]


_LATIN = _words()
_CHINESE = [chr(0x4E00 + n * 17) + chr(0x5000 + n * 13) for n in range(_VOCABULARY)]


def keyword(number: int) -> str:
    """Keyword ``number``, in its normal form; below 2**27 all are distinct."""
    scattered = number * _SCATTER % _NUMBERS
    a, b, c = scattered >> 18, (scattered >> 9) & 511, scattered & 511
    if number % CJK_EVERY == 0:
        return f"{_CHINESE[a]}{_CHINESE[b]} {_CHINESE[c]}"
    return f"{_LATIN[a]} {_LATIN[b]} {_LATIN[c]} {_LATIN[a ^ b ^ c]} {_LATIN[(a + c) % 512]}"


def write_keyword_file(path: Path, lines: int, untidy_every: int = 0) -> int:
    """Write so many lines, every fourth one repeating an earlier one; gives the number of distinct ones.

    With ``untidy_every`` one line in so many is not in normal form (two spaces where one would do, or
    a full-width one). A file that stands already is taken for the right one: its name says what it holds.
    """
    distinct = lines - lines // DUPLICATE_EVERY
    if path.exists():
        return distinct
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    with unfinished.open("w", encoding="utf-8", newline="\n") as file:
        for first in range(0, lines, _LINES_A_WRITE):
            texts = [keyword(_number(at)) for at in range(first, min(lines, first + _LINES_A_WRITE))]
            if untidy_every:
                texts[::untidy_every] = map(_untidy, texts[::untidy_every])
            file.write("\n".join(texts) + "\n")
    unfinished.replace(path)
    return distinct


def _number(line: int) -> int:
    """Which keyword stands on a line, counted from 0."""
    block, place = divmod(line, DUPLICATE_EVERY)
    if place == DUPLICATE_EVERY - 1:
        # Somewhere in what was written before, far or near.
        return line * 2_654_435_761 % (block * (DUPLICATE_EVERY - 1) + place)
    return block * (DUPLICATE_EVERY - 1) + place


def _untidy(text: str) -> str:
    return text.replace(" ", "  " if text.isascii() else "\u3000")


def staged_batches(count: int) -> Iterator[tuple[Batch, list[Page]]]:
    """So many batches of 100 pages of 10 results each, texts as long as a results page's."""
    for batch_no in range(1, count + 1):
        first = (batch_no - 1) * PAGES_A_BATCH
        tasks = tuple(Task(keyword(first + n)) for n in range(PAGES_A_BATCH))
        batch = Batch("made-up", "2026-01-31", 0, batch_no, "practice_page", "en-US", "desktop", tasks)
        yield batch, [_page(task, first + n) for n, task in enumerate(tasks)]


def _page(task: Task, number: int) -> Page:
    sent_at = _START + number * 0.01
    return Page(
        task=task,
        attempts=1,
        status="ok",
        reason="",
        http_status=200,
        requested_at=sent_at,
        fetched_at=sent_at + 0.25,
        latency_ms=250 + number % 97,
        bytes=90_000 + number % 4_001,
        url=f"https://search.example/search?q={number}&hl=en&page=1",
        total_results=number * 37 % 100_003,
        results=tuple(_result(number, rank) for rank in range(1, RESULTS_A_PAGE + 1)),
    )


def _result(number: int, rank: int) -> Result:
    seed = (number * 16 + rank) * _SCATTER % _NUMBERS
    a, b, c = seed >> 18, (seed >> 9) & 511, seed & 511
    host = f"www.{_LATIN[a]}{_LATIN[number % 7]}.example"
    return Result(
        rank,
        "organic",
        f"{_LATIN[a]} {_LATIN[b]} {_LATIN[c]}: {_LATIN[a ^ c]} of {_LATIN[b ^ c]}",
        f"https://{host}/{_LATIN[b]}/{_LATIN[c]}-{seed}.html",
        host.removeprefix("www."),
        # A result is about a sentence: the words differ, as in life, so that they do not pack to nothing.
        " ".join(_LATIN[(a * n + b * (n ^ 5) + c) % 512] for n in range(1, 24)),
    )
