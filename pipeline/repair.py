"""Repair: what a run has lost on its way is sent again, and whatever is sent twice changes nothing."""

from __future__ import annotations

import msgspec

from pipeline import keys
from pipeline.bootstrap import Place
from pipeline.catalog import Tables
from pipeline.closings import clear_told
from pipeline.pending import check_mendable, in_backlog, pending, unsharded
from pipeline.queues.names import Queues
from pipeline.settings import bucket_of
from pipeline.storage.protocol import Storage
from stages.records import Batch, Pointer
from stages.run import Run, ShardTask

SENT_AT_ONCE = 10
"""Messages of one send (SQS takes ten a call)."""

_encoder = msgspec.json.Encoder()


class Repaired(msgspec.Struct):
    """What was sent again, and the batches that were left because they wait in the backlog.

    ``parts`` to be sharded, ``batches`` to be fetched, ``staged`` objects to be committed; ``closings`` of
    sources, of this run or of any other.
    """

    parts: int = 0
    batches: int = 0
    staged: int = 0
    backlog: int = 0
    closings: int = 0


class Resender:
    """Collects messages of one run and sends them a few at a time."""

    def __init__(self, queues: Queues, run_id: str) -> None:
        self._queues = queues
        self._run_id = run_id
        self._batches: dict[str, list[bytes]] = {}
        self._pointers: list[bytes] = []

    def batch(self, batch: Batch) -> None:
        """A batch, to its source's fetch queue."""
        bodies = self._batches.setdefault(batch.source, [])
        bodies.append(_encoder.encode(batch))
        if len(bodies) >= SENT_AT_ONCE:
            self._send_batches(batch.source)

    def pointer(self, pointer: Pointer) -> None:
        """A pointer, to the results queue."""
        self._pointers.append(_encoder.encode(pointer))
        if len(self._pointers) >= SENT_AT_ONCE:
            self._send_pointers()

    def end(self) -> None:
        """Send what is still held."""
        for source in self._batches:
            self._send_batches(source)
        self._send_pointers()

    def _send_batches(self, source: str) -> None:
        if self._batches[source]:
            self._queues.fetch(source).send(self._batches[source], group=self._run_id)
            self._batches[source] = []

    def _send_pointers(self) -> None:
        if self._pointers:
            self._queues.results.send(self._pointers)
            self._pointers = []


def repair(place: Place, run: Run, tables: Tables, queues: Queues) -> Repaired:
    """Send again what is pending of a run, each at the point up to which the lake knows it.

    A part without a row is sharded again, a cut without a staged object is fetched, an object that is not
    in the table is committed. Nothing that was staged is asked again: fetch finds it. Raises ``Misuse`` for a
    run that cannot be mended (see ``check_mendable``).
    """
    check_mendable(run, place.clock(), "repair")
    done = Repaired()
    missing = unsharded(place.storage, run, tables.ledger(run.run_id, run.run_date))
    sender = Resender(queues, run.run_id)
    for part in missing.staged:
        sender.pointer(Pointer(keys.staged_shard(run.run_id, part)))
        done.staged += 1
    done.closings = resend_closings(place.storage, tables, queues)
    if bucket_of(place.lake) is None:
        clear_told(place.storage, tables)
    waits = in_backlog(place.storage, run)
    for part in range(run.parts):
        if part in missing.lost:
            # It sends all of its batches again.
            queues.keywords.send([_encoder.encode(ShardTask(run.run_id, part))])
            done.parts += 1
            continue
        for lacking in pending(place.storage, tables, run, part):
            for pointer in lacking.staged:
                sender.pointer(pointer)
                done.staged += 1
            if lacking.open is None:
                continue
            if waits(lacking.open):
                done.backlog += 1
            else:
                sender.batch(lacking.open)
                done.batches += 1
    sender.end()
    return done


def resend_closings(storage: Storage, tables: Tables, queues: Queues) -> int:
    """Send again the staged closings of sources that the table lacks; gives how many."""
    staged = list(storage.keys(keys.staged_closings()))
    there = tables.closing_ids() if staged else set()
    left = [key for key in staged if keys.closing_id(key) not in there]
    for at in range(0, len(left), SENT_AT_ONCE):
        queues.results.send([_encoder.encode(Pointer(key)) for key in left[at : at + SENT_AT_ONCE]])
    return len(left)
