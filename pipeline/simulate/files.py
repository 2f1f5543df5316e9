"""Keyword files made for a simulation, and what is known of them without reading them."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, Literal

import msgspec

from pipeline import keys
from pipeline.simulate.deployment import BUCKET, SOURCES
from stages.records import digest
from stages.run import Options, Run, run_id_of

Way = Literal["event", "schedule", "message"]

_FOLDERS = ("x", "x", "source=beta", "locale=fr-FR", "source=alpha/device=mobile/pages=2", "source=nowhere")
"""Of the last one nothing is asked: there is no such source."""

DROP = "monday"
"""The one turn of every schedule."""

TaskKey = tuple[str, str, str, str, int]
"""Source, locale, device, keyword and page."""


class Row(msgspec.Struct, frozen=True):
    """A line of a file: a keyword, or what cannot be one; what it leaves out comes from the run."""

    keyword: str
    source: str | None = None
    pages: int | None = None
    bad: bool = False


class KeywordFile(msgspec.Struct, frozen=True):
    """A file, how it enters, and its rows. ``name`` decides the format."""

    way: Way
    key: str
    rows: tuple[Row, ...]
    versioned: bool = True
    """Whether the event names the object's version; in a plain bucket what stands at the key is meant."""

    @property
    def body(self) -> bytes:
        """The file's bytes."""
        if self.way == "message" or self.key.endswith(".jsonl"):
            return b"".join(_line(row) for row in self.rows)
        if self.key.endswith(".csv"):
            lines = [
                f"{row.keyword},{row.source or ''},{row.pages if row.pages is not None else ''}"
                for row in self.rows
            ]
            return "\n".join(["keyword,source,pages", *lines]).encode()
        return "\n".join(row.keyword for row in self.rows).encode()

    def event(self, version: str) -> bytes:
        """The message that has it sharded; of an object, this version."""
        if self.way == "event":
            return msgspec.json.encode({"Records": [self.record(version)]})
        if self.way == "message":
            keywords = [row.keyword for row in self.rows]
            return msgspec.json.encode({"keywords": keywords, "source": self.rows[0].source})
        return msgspec.json.encode({"key": self.key, "drop": DROP})

    def run_id(self, version: str) -> str:
        """The id of the run that is to come of it."""
        if self.way == "message":
            return digest(self.event("").decode(), size=8)
        if self.way == "schedule":
            return run_id_of(BUCKET, self.key, DROP)
        return run_id_of(BUCKET, self.key, version if self.versioned else f"{version}.1")

    def record(self, version: str) -> dict[str, Any]:
        """What a notification says of the object."""
        dropped = {"key": self.key.replace("=", "%3D"), "size": len(self.body), "versionId": version}
        if not self.versioned:
            dropped |= {"versionId": "", "eTag": version, "sequencer": "1"}
        return {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": BUCKET}, "object": dropped}}

    def expected(self, run: Run) -> tuple[Counter[TaskKey], int, int, int]:
        """The tasks of a run of it, each once, and its kept, duplicate and rejected lines."""
        given = run.options
        tasks: Counter[TaskKey] = Counter()
        if run.refused:
            return tasks, 0, 0, 0
        pages_of: dict[tuple[str, str], int] = {}
        kept = duplicates = rejected = 0
        for row in self.rows:
            source, pages = self._terms(row, given)
            if row.bad or source not in SOURCES or pages > run.sources[source].most_pages:
                rejected += 1
                continue
            before = pages_of.get((source, row.keyword), 0)
            if pages <= before:
                duplicates += 1
                continue
            kept += 1
            pages_of[source, row.keyword] = pages
            for page in range(before + 1, pages + 1):
                tasks[source, given.locale, given.device, row.keyword, page] += 1
        return tasks, kept, duplicates, rejected

    def _terms(self, row: Row, given: Options) -> tuple[str, int]:
        if self.way == "message" or self.key.endswith(".txt"):
            return given.source, given.pages
        source = row.source if row.source else given.source
        return source, row.pages if row.pages is not None else given.pages


def _line(row: Row) -> bytes:
    if row.bad:
        return b'{"keyword": 7\n'
    said = {"keyword": row.keyword, "source": row.source, "pages": row.pages}
    return msgspec.json.encode({name: value for name, value in said.items() if value is not None}) + b"\n"


def draw_file(random: Random, number: int, tasks: int, key: str = "") -> KeywordFile:
    """A file of about so many tasks, some of its lines bad and some twice; ``key`` replaces that object."""
    way: Way = random.choice(("event", "event", "event", "schedule", "message"))
    if key:
        way = "event" if key.startswith(keys.KEYWORDS) else "schedule"
    ending = key.rpartition(".")[2] if key else random.choice(("txt", "csv", "jsonl"))
    folder = random.choice(_FOLDERS)
    replaces = key
    if not key:
        root = keys.KEYWORDS if way == "event" else keys.LISTS
        key = f"{root}{folder}/list{number}.{ending}" if way == "event" else f"{root}list{number}.{ending}"
    rows: list[Row] = []
    left = tasks // 2 if "pages=2" in key else tasks
    source = random.choice(SOURCES)
    while left > 0:
        chance = random.random()
        if way == "message":
            rows.append(Row(f"keyword {number} {len(rows)}", source))
            left -= 1
        elif chance < 0.03 and rows:
            rows.append(rows[random.randrange(len(rows))])
        elif chance < 0.05:
            rows.append(Row("a\x00bad line", bad=True))
        elif ending != "txt" and chance < 0.2:
            pages = random.choice((1, 2, 3))
            row = Row(f"keyword {number} {len(rows)}", random.choice((*SOURCES, "nowhere")), pages)
            rows.append(row)
            left -= pages if row.source != "nowhere" else 0
        else:
            rows.append(Row(f"keyword {number} {len(rows)}"))
            left -= 1
    return KeywordFile(way, key, tuple(rows), versioned=bool(replaces) or random.random() < 0.7)
