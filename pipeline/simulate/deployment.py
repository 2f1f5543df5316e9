"""Deployments: what a release of the code and its settings decide, which may change in mid-run."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from random import Random

import msgspec

from pipeline.source_files import LoadedSource, renamed, shipped_files
from stages.extract import Extractor, compile_rules
from stages.run import Run
from stages.source import parse_source

SOURCES = ("alpha", "beta")
BUCKET = "simulated"
ROBOTS = "beta"
"""The one whose robots.txt decides what is asked."""

LANES = 2
"""Fetch functions of each source; one works at a time."""

MOST_ATTEMPTS = 4
MOST_REFUSALS = 4
"""Of any source file: with them the most requests of a task are known, whatever was deployed when."""


class AskedSource(msgspec.Struct, frozen=True):
    """A source with its rules compiled."""

    loaded: LoadedSource
    extractor: Extractor


class Deployment(msgspec.Struct, frozen=True):
    """A release: its sources and defaults, and how it cuts the runs that it freezes.

    ``horizon`` in seconds is what a queue holds at most, ``longest`` what an invocation may take;
    ``copies`` of a lane's function work side by side.
    """

    number: int
    sources: dict[str, AskedSource]
    source: str
    parts: int
    batch_size: int
    horizon: float
    longest: float
    copies: int
    results_a_commit: int
    lane_seconds: float

    @property
    def loaded(self) -> dict[str, LoadedSource]:
        """The sources by name."""
        return {name: one.loaded for name, one in self.sources.items()}

    def cut(self, run: Run) -> Run:
        """The run as this release freezes it: batch size and K are constants of the code."""
        return msgspec.structs.replace(run, parts=self.parts, batch_size=self.batch_size)


def draw_deployment(random: Random, number: int) -> Deployment:
    """A release that differs from others in whatever a release may change."""
    return Deployment(
        number=number,
        sources={name: _draw_source(random, name) for name in SOURCES},
        source=random.choice(SOURCES),
        parts=random.choice((1, 1, 2, 3)),
        batch_size=random.choice((5, 12, 20, 40)),
        horizon=random.choice((5.0, 20.0, 3600.0)),
        longest=random.choice((8.0, 30.0, 120.0)),
        copies=random.choice((1, 2)),
        results_a_commit=random.choice((20, 200, 100_000)),
        lane_seconds=random.choice((60.0, 600.0)),
    )


def _draw_source(random: Random, name: str) -> AskedSource:
    rate = random.choice((5, 20, 50))
    rest = random.choice((2, 20))
    attempts = random.randint(2, MOST_ATTEMPTS)
    refusals = random.randint(1, MOST_REFUSALS)
    locale = random.choice(("en-US", "de-DE"))
    most = random.choice((2, 10))
    return _source(name, rate, rest, attempts, refusals, locale, most)


@cache
def _source(  # what may differ between releases
    name: str, rate: int, rest: int, attempts: int, refusals: int, locale: str, most: int
) -> AskedSource:
    """The practice engine's source file under another name, with another pace: another text and hash."""
    file, (text, folder) = next(
        entry for entry in shipped_files().items() if Path(entry[0]).stem == "practice_api"
    )
    text = renamed(text, name).replace('kind = "api"', f'kind = "api"\ndefault_locale = "{locale}"')
    pace = f"rate = {rate}\nburst = 5\nconcurrency = 4\nrest = {rest}\nmax_rest = 300\n"
    pace += f"max_closed = {600 if rest == 2 else 86_400}\nrobots = {'true' if name == ROBOTS else 'false'}\n"
    limits = f"[limits]\ntimeout = 10\nattempts = {attempts}\nrefusals = {refusals}\n\n"
    text = re.sub(r"\[politeness\]\n(?:.+\n)*", f"[politeness]\n{pace}\n{limits}", text)
    source = parse_source(text.replace("most = 10", f"most = {most}"))
    return AskedSource(LoadedSource(source, file, text, folder), _extractor(text.partition("[answer]")[2]))


_EXTRACTORS: dict[str, Extractor] = {}


def _extractor(rules: str) -> Extractor:
    """Compiled rules, by their text: every release reads answers alike."""
    if rules not in _EXTRACTORS:
        text = next(text for file, (text, _) in shipped_files().items() if Path(file).stem == "practice_api")
        _EXTRACTORS[rules] = compile_rules(parse_source(text).spec.answer)
    return _EXTRACTORS[rules]
