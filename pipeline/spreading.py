"""Spreading: the batches of a part of a spread run, each with its moment, whoever cuts them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pipeline.storage.protocol import Storage
from stages.records import Batch
from stages.run import Run
from stages.shard import shard
from stages.spread import Moments, count_tasks

_Event = TypeVar("_Event")


def timed(storage: Storage, run: Run, part: int, events: Iterable[_Event]) -> Iterator[_Event]:
    """What sharding the part gives, its batches with their moments; as it is where the run is not spread.

    A spread run's file is read a second time, before: how far along a batch is shows only in the whole.
    """
    if not run.spread:
        yield from events
        return
    with storage.open(run.key, version=run.version) as stream:
        moments = Moments(run, part, count_tasks(shard(stream, run, part)))
    for event in events:
        yield moments.timed(event) if isinstance(event, Batch) else event  # type: ignore[misc]
