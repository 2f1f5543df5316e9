"""Deployments: what a release of the code and its settings decide, which may change in mid-run."""

from __future__ import annotations

import re
import time
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
"""Of any source file; most allow less, so that what goes beyond is soon seen."""


QUOTAS = 0.2
"""Share of the stories in which a source has a quota."""


class Quota(msgspec.Struct, frozen=True):
    """Requests a day of one source, and when its day begins (``HH:MM`` in UTC): an engine's, no release's."""

    source: str
    requests: int
    resets: str


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
    backlog: bool
    """Whether fetch takes batches of paused runs out of their queue."""
    lane_rest: float
    """Seconds for which a lane takes nothing at least, after its turn."""

    @property
    def loaded(self) -> dict[str, LoadedSource]:
        """The sources by name."""
        return {name: one.loaded for name, one in self.sources.items()}

    def cut(self, run: Run) -> Run:
        """The run as this release freezes it: batch size and K are constants of the code."""
        return msgspec.structs.replace(run, parts=self.parts, batch_size=self.batch_size)


def draw_quota(random: Random, tasks: int, now: float) -> Quota | None:
    """For few stories, a quota that is spent before they end; the next of its days begins soon."""
    if random.random() >= QUOTAS:
        return None
    begins = time.gmtime(now + random.uniform(180.0, 1_800.0))
    requests = max(20, int(tasks * random.uniform(0.3, 0.6)))
    return Quota(random.choice(SOURCES), requests, time.strftime("%H:%M", begins))


def draw_deployment(random: Random, number: int, quota: Quota | None = None) -> Deployment:
    """A release that differs from others in whatever a release may change; no release changes the quota."""
    return Deployment(
        number=number,
        sources={name: _draw_source(random, name, quota) for name in SOURCES},
        source=random.choice(SOURCES),
        parts=random.choice((1, 1, 2, 3)),
        batch_size=random.choice((5, 12, 20, 40)),
        horizon=random.choice((5.0, 20.0, 3600.0)),
        longest=random.choice((8.0, 30.0, 120.0)),
        copies=random.choice((1, 2)),
        results_a_commit=random.choice((20, 200, 100_000)),
        lane_seconds=random.choice((60.0, 600.0)),
        backlog=random.choice((True, True, False)),
        lane_rest=random.choice((0.0, 120.0, 600.0)),
    )


def _draw_source(random: Random, name: str, quota: Quota | None) -> AskedSource:
    rate = random.choice((5, 20, 50))
    rest = random.choice((2, 20))
    attempts = random.choice((1, 2, 2, MOST_ATTEMPTS))
    refusals = random.choice((1, 1, 2, MOST_REFUSALS))
    locale = random.choice(("en-US", "de-DE"))
    most = random.choice((2, 10))
    if quota is not None and quota.source != name:
        quota = None
    return _source(name, (rate, rest), (attempts, refusals), locale, most, quota)


@cache
def _source(  # what may differ between releases
    name: str,
    politeness: tuple[int, int],
    most_of: tuple[int, int],
    locale: str,
    most: int,
    quota: Quota | None,
) -> AskedSource:
    """The practice engine's source file under another name, with another pace: another text and hash.

    ``politeness`` is rate and rest, ``most_of`` are attempts and refusals.
    """
    (rate, rest), (attempts, refusals) = politeness, most_of
    file, (text, folder) = next(
        entry for entry in shipped_files().items() if Path(entry[0]).stem == "practice_api"
    )
    text = renamed(text, name).replace('kind = "api"', f'kind = "api"\ndefault_locale = "{locale}"')
    pace = f"rate = {rate}\nburst = 5\nconcurrency = 4\nrest = {rest}\nmax_rest = 300\n"
    pace += f"max_closed = {600 if rest == 2 else 86_400}\nrobots = {'true' if name == ROBOTS else 'false'}\n"
    if quota is not None:
        pace += f'quota = {quota.requests}\nquota_resets = "{quota.resets}"\n'
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
