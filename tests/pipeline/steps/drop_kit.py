"""A bucket in a folder, the drop step over it, and the messages that reach it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote_plus

import msgspec

from pipeline.errors import ObjectMissing, StorageUnavailable
from pipeline.metrics import MemoryMetrics
from pipeline.queues.memory import MemoryBroker
from pipeline.queues.names import Queues
from pipeline.runs import all_runs
from pipeline.source_files import load_sources
from pipeline.steps.drop import DropStep, DropTerms, KeywordsStep
from pipeline.steps.shard import QueueOutlet, ShardStep
from pipeline.storage.folder import FolderStorage
from stages.records import Batch, Pointer
from stages.run import Run, ShardTask
from stages.shard import ShardRow
from tests.pipeline.kit import API, LOG, Clock

BUCKET = "lake-of-tests"


class Versions(FolderStorage):
    """A folder that keeps versions ``v1``, ``v2`` and so on, as a bucket does."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.kept: dict[tuple[str, str], bytes] = {}
        self.away: set[str] = set()
        self.versions: dict[str, int] = {}

    def drop(self, key: str, body: bytes) -> str:
        self.put(key, body)
        self.versions[key] = self.versions.get(key, 0) + 1
        version = f"v{self.versions[key]}"
        self.kept[key, version] = body
        return version

    def version_of(self, key: str) -> str:
        self.size(key)
        return f"v{self.versions[key]}"

    def open(self, key: str, *, version: str = "") -> BinaryIO:
        if key in self.away:
            raise StorageUnavailable("away")
        return io.BytesIO(self._version(key, version)) if version else super().open(key)

    def size(self, key: str, *, version: str = "") -> int:
        return len(self._version(key, version)) if version else super().size(key)

    def _version(self, key: str, version: str) -> bytes:
        if (key, version) not in self.kept:
            raise ObjectMissing("no such version", key=key)
        return self.kept[key, version]


class Bench:
    """The step of the keywords queue over a bucket in a folder."""

    def __init__(self, lake: Path) -> None:
        self.clock = Clock()
        self.storage = Versions(lake)
        self.queues = Queues(MemoryBroker(clock=self.clock), "t")
        self.sources = load_sources(None)
        self.longest = 800.0

    def drops(self) -> DropStep:
        terms = DropTerms(BUCKET, API, "desktop", self.longest)
        return DropStep(self.storage, self.sources, terms, self.clock, LOG)

    def __call__(self, body: bytes) -> None:
        shard = ShardStep(self.storage, self.queues, MemoryMetrics(), LOG, QueueOutlet(self.queues))
        KeywordsStep(self.drops(), shard, self.storage, self.queues)(body)

    def runs(self) -> list[Run]:
        return sorted(all_runs(self.storage), key=lambda run: run.key)

    def sent(self, queue: str, kind: type[Any]) -> list[Any]:
        opened = {"fetch": self.queues.fetch(API), "results": self.queues.results}.get(
            queue, self.queues.keywords
        )
        received = opened.receive(1000, wait=0)
        for one in received:
            opened.ack(one)
        return [msgspec.json.decode(one.body, type=kind) for one in received]

    def keywords(self) -> list[str]:
        return [task.keyword for batch in self.sent("fetch", Batch) for task in batch.tasks]

    def parts(self) -> list[ShardTask]:
        return self.sent("keywords", ShardTask)

    def rows(self) -> list[ShardRow]:
        pointers = self.sent("results", Pointer)
        return [msgspec.json.decode(self.storage.get(one.key), type=ShardRow) for one in pointers]


def record(key: str, version: str = "", event: str = "ObjectCreated:Put", **fields: str) -> dict[str, Any]:
    told: dict[str, Any] = {"key": quote_plus(key, safe="/"), **fields}
    if version:
        told["versionId"] = version
    return {
        "eventSource": "aws:s3",
        "eventName": event,
        "s3": {"bucket": {"name": BUCKET, "arn": "x"}, "object": told},
    }


def notification(*records: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"Records": records})


def message(**fields: object) -> bytes:
    return msgspec.json.encode(fields)
