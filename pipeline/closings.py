"""Closings told: each closing and reopening of a source one line of the log and one row, over the fleet.

The state of a source holds what nobody told yet. Whoever meets it there tells it: writes the row at a key
that follows from what happened, sends its pointer, and takes it out of the state. A death at any point
has it told again, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from pipeline import keys
from pipeline.pacers.pacer import Pacer
from pipeline.queues.protocol import Queue
from pipeline.storage.protocol import Storage
from stages.records import Closing, Pointer
from stages.staged import encode_closing

_encoder = msgspec.json.Encoder()


def tell(
    source: str, events: Sequence[Closing], pacer: Pacer, storage: Storage, results: Queue, log: Any
) -> None:
    """Tell what happened to a source, in its order. Raises what storage, queue and pacer raise."""
    for event in events:
        key = keys.staged_closing(source, event.id)
        first = storage.put_new(key, encode_closing(event))
        results.send([_encoder.encode(Pointer(key))])
        if first:
            _log(event, log)
    if events:
        forgotten = pacer.told(source, events)
        if forgotten:
            log.warning("closings were not told in time and are no rows", source=source, closings=forgotten)


class Known(Protocol):
    """Tables that know which closings they hold."""

    def closing_ids(self) -> set[str]:
        """By their ids."""


def clear_told(storage: Storage, tables: Known) -> int:
    """Remove the staged closings that the table holds, where nothing expires by itself; gives how many."""
    staged = list(storage.keys(keys.staged_closings()))
    there = tables.closing_ids() if staged else set()
    told = [key for key in staged if keys.closing_id(key) in there]
    for key in told:
        storage.delete(key)
    return len(told)


def _log(event: Closing, log: Any) -> None:
    words = {"source": event.source, "reason": event.reason, "refusals": event.refusals}
    if event.event == "closed":
        until = round(event.closed_until or event.happened_at, 1)
        log.warning("source closed", closed_until=until, **words)
    else:
        minutes = round((event.happened_at - event.closed_since) / 60, 1)
        log.info("source open again", minutes=minutes, **words)
