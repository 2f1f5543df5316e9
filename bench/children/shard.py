"""One part of a keyword file sharded: ``python -m bench.children.shard MODE ROOT FILE PART PARTS``.

``step`` is the real shard step, on a storage folder, with queues that drop what they are sent;
``split`` only splits the file into lines, ``encode`` normalises and encodes batches without looking
for duplicates: the floors. Prints one line of JSON: CPU seconds of the work alone, the process's
peak in MB, and the counts that show that it was done.
"""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import boto3
import msgspec
import structlog

from bench.process import peak_megabytes
from pipeline import keys
from pipeline.metrics import MemoryMetrics
from pipeline.queues.names import Queues
from pipeline.queues.protocol import Broker
from pipeline.steps.shard import QueueOutlet, ShardStep
from pipeline.storage.folder import FolderStorage
from pipeline.storage.protocol import Storage
from pipeline.storage.s3 import S3Storage
from stages.records import Batch, Task
from stages.run import Options, Run, ShardTask, SourceTerms
from stages.staged import decode_shard_row

RUN_ID = "bench"
BATCH = 100

_READ = 1 << 20


class _Dropping:
    """A queue that counts what it is sent and forgets it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bytes = 0

    def send(self, bodies: Sequence[bytes], *, delay: float = 0.0, group: str = "") -> None:
        self.bytes += sum(map(len, bodies)) + int(delay) + len(group)


class _Drop:
    def queue(self, name: str) -> _Dropping:
        return _Dropping(name)

    def close(self) -> None:
        pass


def _storage(root: Path) -> Storage:
    """A folder, or the bucket of an emulator that ``SERPLINE_BENCH_S3`` names."""
    endpoint = os.environ.get("SERPLINE_BENCH_S3")
    if endpoint is None:
        return FolderStorage(root)
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="bench",
        aws_secret_access_key="bench",  # noqa: S106  # the emulator takes any
    )
    return S3Storage(client, "bench")


def _step(root: Path, file: Path, part: int, parts: int) -> dict[str, float]:
    storage = _storage(root)
    run = Run(
        run_id=RUN_ID,
        key=file.relative_to(root).as_posix(),
        name=file.name,
        size=file.stat().st_size,
        options=Options("practice_page", "en-US", "desktop", 1),
        parts=parts,
        batch_size=BATCH,
        run_date="2026-01-31",
        created_at=0.0,
        sources={"practice_page": SourceTerms("", 10)},
        software="bench",
    )
    row_key = keys.staged_shard(RUN_ID, part)
    storage.delete(row_key)
    storage.put(keys.run(RUN_ID), msgspec.json.encode(run))
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    log: Any = structlog.get_logger()
    queues = Queues(cast("Broker", _Drop()), "bench")
    step = ShardStep(storage, queues, MemoryMetrics(), log, QueueOutlet(queues))
    body = msgspec.json.encode(ShardTask(RUN_ID, part))
    started = time.process_time()
    step(body)
    cpu = time.process_time() - started
    row = decode_shard_row(storage.get(row_key))
    counts = {name: getattr(row, name) for name in ("lines", "kept", "duplicates", "rejected", "tasks")}
    return {"cpu": cpu, **counts}


def _split(file: Path) -> dict[str, float]:
    started = time.process_time()
    lines = 0
    carry = b""
    with file.open("rb") as stream:
        while piece := stream.read(_READ):
            whole, found, rest = (carry + piece).rpartition(b"\n")
            carry = rest
            if found:
                lines += len(whole.decode().split("\n"))
    return {"cpu": time.process_time() - started, "lines": lines}


def _encode(file: Path) -> dict[str, float]:
    encoder = msgspec.json.Encoder()
    started = time.process_time()
    lines = tasks = batches = 0
    waiting: list[Task] = []
    with file.open(encoding="utf-8") as stream:
        for line in stream:
            text = line if line.isascii() else unicodedata.normalize("NFKC", line)
            waiting.append(Task(" ".join(text.split())))
            if len(waiting) == BATCH:
                batches += 1
                encoder.encode(
                    Batch(
                        RUN_ID, "2026-01-31", 0, batches, "practice_page", "en-US", "desktop", tuple(waiting)
                    )
                )
                tasks += len(waiting)
                waiting.clear()
            lines += 1
    return {"cpu": time.process_time() - started, "lines": lines, "tasks": tasks}


def _main(mode: str, root: Path, file: Path, part: int, parts: int) -> None:
    if mode == "step":
        done = _step(root, file, part, parts)
    else:
        done = _split(file) if mode == "split" else _encode(file)
    print(msgspec.json.encode({**done, "peak": peak_megabytes()}).decode())


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
