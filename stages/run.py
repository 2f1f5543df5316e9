"""The run: what is frozen when a file is dropped, before anything derives from it."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from stages.keywords import NORMALISER
from stages.records import MAX_BATCH, digest

LINES_A_PART = 10_000_000
"""One more part for about every so many lines; a part's memory grows with its keywords."""

RunBy = Literal["here", "workers"]
"""Who runs a run: one command and the queues in its memory, or workers on a broker."""

DEVICES = ("desktop", "mobile", "tablet")

_LOCALE = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{2}))?")


class SourceTerms(msgspec.Struct, frozen=True):
    """What sharding must know of a source: which file it was, its most pages, its locales (empty: any)."""

    hash: str
    most_pages: int
    locales: tuple[str, ...] = ()


class Options(msgspec.Struct, frozen=True):
    """What a row gets where it says nothing itself."""

    source: str
    locale: str
    device: str
    pages: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One dropped file with its options, as ``run.json`` keeps it.

    ``key`` is the object that was dropped, ``name`` what the user calls it, ``size`` its bytes;
    ``parts`` is K, ``batch_size`` the tasks of a batch; ``run_date`` an ISO day in UTC;
    ``created_at`` seconds since the epoch; ``sources`` the terms of every source known then.
    ``version`` is the object's, where the storage keeps several; ``refused`` says why the file was
    refused when it was dropped; ``spread`` is how many seconds the run should last, 0 for as few as may be.
    """

    v: int = 1
    run_id: str
    key: str
    name: str
    size: int
    options: Options
    parts: int
    batch_size: int
    normaliser: int = NORMALISER
    run_date: str
    created_at: float
    sources: dict[str, SourceTerms]
    software: str
    by: RunBy = "here"
    version: str = ""
    refused: str = ""
    spread: float = 0.0


class ShardTask(msgspec.Struct, frozen=True):
    """What the keywords queue carries within Serpline: shard this part of this run."""

    run_id: str
    part: int


def run_id_of(bucket: str, key: str, version: str) -> str:
    """The run's id: fixed by what was dropped, so that a repeated event is the same run."""
    return digest(bucket, key, version, size=8)


def parts_for(lines: int) -> int:
    """K for a file of about so many lines."""
    return max(1, -(-lines // LINES_A_PART))


def canonical_locale(text: str) -> str | None:
    """``en``, ``en-US`` from what people write (``EN_us``); None where it is no locale."""
    match = _LOCALE.fullmatch(text.strip())
    if match is None:
        return None
    language, country = match[1].lower(), match[2]
    return f"{language}-{country.upper()}" if country is not None else language


def check_row(run_sources: dict[str, SourceTerms], options: Options) -> str:
    """Why these options cannot be asked, in one word; empty where they can. The locale is canonical."""
    terms = run_sources.get(options.source)
    if terms is None:
        return "unknown_source"
    if options.device not in DEVICES:
        return "unknown_device"
    if terms.locales and options.locale not in terms.locales:
        return "unknown_locale"
    if not 1 <= options.pages <= terms.most_pages:
        return "too_many_pages"
    return ""


def batch_size_for(rate: float, longest: float = 120.0) -> int:
    """Tasks of a batch so that it passes within two minutes at this rate."""
    return max(1, min(MAX_BATCH, int(longest * rate)))
