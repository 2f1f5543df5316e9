"""Runs: frozen before anything derives from them, found again, resumed and ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import BinaryIO

import msgspec

from pipeline import keys
from pipeline.errors import Misuse, Unreadable
from pipeline.storage.protocol import Storage
from stages.keyword_file import count_lines
from stages.records import MAX_BATCH, Malformed, digest
from stages.run import Options, Run, RunBy, SourceTerms, batch_size_for, parts_for, run_id_of

_decoder = msgspec.json.Decoder(Run)

BATCH_SIZE = 100
"""Tasks of a batch where the source's rate allows so many in two minutes."""


class Drop(msgspec.Struct, frozen=True):
    """A keyword file that was dropped: the object's key, what the user calls it, and its options."""

    key: str
    name: str
    options: Options
    by: RunBy = "here"


def load_run(storage: Storage, run_id: str) -> Run:
    """The frozen run. Raises ``ObjectMissing`` for an unknown id, ``Unreadable`` for a damaged record."""
    return _decode(storage.get(keys.run(run_id)), run_id)


def find_run(storage: Storage, run_id: str) -> Run | None:
    """The frozen run, or None where there is none of this id."""
    raw = storage.find(keys.run(run_id))
    return _decode(raw, run_id) if raw is not None else None


def _decode(raw: bytes, run_id: str) -> Run:
    try:
        return _decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise Unreadable(f"the record of run {run_id} is damaged: {error}", key=keys.run(run_id)) from error


def all_runs(storage: Storage) -> Iterator[Run]:
    """Every run of the lake, in no order that means anything."""
    for key in storage.keys(keys.RUNS):
        if key.endswith("/run.json"):
            yield load_run(storage, key.split("/")[1])


def is_complete(storage: Storage, run_id: str) -> bool:
    """Whether the run was seen to account for every task."""
    return storage.find(keys.complete(run_id)) is not None


def unfinished_run_id(
    bucket: str, name: str, content: str, options: Options, finished: Callable[[str], bool]
) -> str:
    """The id of the run to go on with, or of a new one, for the same file, content and options.

    ``bucket`` is where it was dropped. The nth drop of the same thing has version n: the first n whose
    run is not complete is meant.
    """
    asked = digest(content, *map(str, msgspec.structs.astuple(options)), size=8)
    number = 1
    while finished(run_id := run_id_of(bucket, name, f"{asked}.{number}")):
        number += 1
    return run_id


def freeze_run(
    storage: Storage,
    run_id: str,
    drop: Drop,
    *,
    sources: Mapping[str, SourceTerms],
    rate: float,
    clock: Callable[[], float],
) -> Run:
    """Freeze a run of a dropped file, or give the one that was frozen before.

    ``rate`` is that of the run's own source in requests a second; it decides the batch size.
    """
    frozen = find_run(storage, run_id)
    if frozen is not None:
        return frozen
    size = storage.size(drop.key)
    with storage.open(drop.key) as stream:
        lines = estimate_lines(stream, drop.name, size)
    now = clock()
    run = Run(
        run_id=run_id,
        key=drop.key,
        name=drop.name,
        size=size,
        options=drop.options,
        parts=parts_for(lines),
        batch_size=min(BATCH_SIZE, MAX_BATCH, batch_size_for(rate)),
        run_date=datetime.fromtimestamp(now, UTC).date().isoformat(),
        created_at=now,
        sources=dict(sources),
        software=version("serpline"),
        by=drop.by,
    )
    if storage.put_new(keys.run(run_id), msgspec.json.encode(run)):
        return run
    return load_run(storage, run_id)


def estimate_lines(stream: BinaryIO, name: str, size: int) -> int:
    """About how many lines a keyword file has. Raises ``Misuse`` where it is no keyword file."""
    try:
        return count_lines(stream, name, size)
    except Malformed as error:
        raise Misuse(f"{name}: {error}") from error


def finish_run(storage: Storage, run_id: str, now: float) -> None:
    """Mark a run complete."""
    storage.put(keys.complete(run_id), msgspec.json.encode({"run_id": run_id, "completed_at": now}))


def clear_staging(storage: Storage, run_id: str) -> None:
    """Remove a complete run's staged objects, where no message of it can come any more."""
    for key in list(storage.keys(keys.staging(run_id))):
        storage.delete(key)
