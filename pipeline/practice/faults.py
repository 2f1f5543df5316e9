"""How the engine misbehaves on request: which fault meets which question, decided and repeatable.

Nothing here is random: a share is drawn from the seed, the fault, the question and how many times that was
asked, so the same run meets the same faults, and a repeat of a question may succeed.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Literal

import msgspec

FaultKind = Literal[
    "slow",  # the answer, but after `seconds`
    "throttle",  # 429 with Retry-After in seconds
    "throttle-date",  # 429 with Retry-After as an HTTP date
    "unavailable",  # 503 without a word about when
    "unavailable-retry",  # 503 with Retry-After in seconds
    "forbidden",  # 403
    "not-found",  # 404
    "error",  # 500
    "captcha",  # 200, and a page that asks for a person
    "layout",  # 200, and a page whose structure nobody knows: neither hits nor the mark that there are none
    "garbage",  # 200, and bytes without meaning
    "truncated",  # half the body that Content-Length promised, then the end of the connection
    "drip",  # the body, a byte every `seconds`
    "charset-latin1",  # the body in Latin-1 where the header says UTF-8
    "charset-utf16",  # the body in UTF-16 where the header says UTF-8
    "charset-lie",  # the body in UTF-8 where the header says UTF-16
    "redirect-away",  # 302 to another host (`location`, or this engine by another name)
    "redirect-loop",  # 302 round and round
    "huge",  # `size` bytes (200 MB), streamed
    "gzip-bomb",  # a small body that inflates to `size` bytes (200 MB)
    "gzip-bomb-double",  # the same, compressed twice
    "reset",  # the connection reset before a byte is sent
]

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Amount = Annotated[float, msgspec.Meta(ge=0.0)]
Count = Annotated[int, msgspec.Meta(ge=0)]

SEARCHES = ("/search", "/api/search")


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to misbehave, and when.

    It meets the questions in ``keywords``, and of all others the ``share``; with ``first`` only the first n
    times that a question (a page of it) is asked. ``seconds`` is the delay, the Retry-After or the time
    between two bytes. ``paths`` are the doors it stands behind: ("/robots.txt",) spoils only that.
    """

    kind: FaultKind
    share: Share = 0.0
    keywords: tuple[str, ...] = ()
    first: Count | None = None
    seconds: Amount | None = None
    paths: tuple[str, ...] = SEARCHES
    size: Count = 200_000_000
    location: str | None = None

    def wait(self, otherwise: float) -> float:
        """``seconds``, or what the kind takes where none were given."""
        return otherwise if self.seconds is None else self.seconds


class Question(msgspec.Struct, frozen=True):
    """What a request asked: at which door, for what, which page of it, and for which time (1 = the first)."""

    path: str
    keyword: str
    page: int
    time: int


def chosen(faults: Sequence[Fault], question: Question, *, seed: int = 0) -> tuple[float, Fault | None]:
    """The seconds to wait, and the first fault that meets the question (slowness goes with any other)."""
    delay = 0.0
    for place, fault in enumerate(faults):
        if not _meets(fault, question, seed, place):
            continue
        if fault.kind != "slow":
            return delay, fault
        delay += fault.wait(1.0)
    return delay, None


def same_keyword(keyword: str) -> str:
    """A keyword as faults compare it: the form of its letters and its spaces do not count."""
    return " ".join(unicodedata.normalize("NFKC", keyword).split())


def _meets(fault: Fault, question: Question, seed: int, place: int) -> bool:
    if question.path not in fault.paths:
        return False
    if fault.first is not None and question.time > fault.first:
        return False
    if question.keyword in _chosen_keywords(fault.keywords):
        return True
    return _drawn(seed, place, fault.kind, question) < fault.share


@lru_cache(maxsize=256)
def _chosen_keywords(keywords: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(same_keyword, keywords))


def _drawn(seed: int, place: int, kind: str, question: Question) -> float:
    """A number from 0 up to but not including 1, the same for the same question asked for the same time."""
    told = f"{seed}|{place}|{kind}|{question.path}|{question.page}|{question.time}|{question.keyword}"
    digest = hashlib.blake2b(told.encode(errors="replace"), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
