"""Settling: a run is closed without what it never got; the tasks that are missing end as ``failed/dead``."""

from __future__ import annotations

import msgspec

from pipeline import keys
from pipeline.bootstrap import Place
from pipeline.catalog import Tables
from pipeline.errors import Misuse
from pipeline.pending import Pending, check_mendable, follow, pending, unsharded
from pipeline.queues.names import Queues
from pipeline.repair import Resender
from pipeline.steps.fetch import unasked_page
from stages.records import Batch, Pointer
from stages.run import Run
from stages.staged import encode_staged


class Settled(msgspec.Struct):
    """Tasks that were ended as dead, and staged objects that go to be committed, theirs among them."""

    tasks: int = 0
    staged: int = 0


def settle(place: Place, run: Run, tables: Tables, queues: Queues) -> Settled:
    """End every task of a run that has no page and is in no staged object as ``failed/dead``.

    What ends them is a staged object in the place of the one that never came, written only where there is
    none: a message of that batch that comes later finds it, and a fetch that is at it loses. So each task
    has one row in whatever order this, ``repair`` and ``redrive`` come. Raises ``Misuse`` for a run that is
    complete, not wholly sharded, or cannot be mended (see ``check_mendable``).
    """
    check_mendable(run, place.clock(), "settle")
    ledger = tables.ledger(run.run_id, run.run_date)
    if ledger.complete:
        raise Misuse(f"run {run.run_id} is complete: every task has its row, there is nothing to settle")
    missing = unsharded(place.storage, run, ledger)
    if missing.lost:
        raise Misuse(
            f"{len(missing.lost)} of {run.parts} parts of run {run.run_id} are not sharded yet, so nobody "
            f"knows their tasks: `serpline repair {run.run_id}` has them sharded"
        )
    done = Settled()
    sender = Resender(queues, run.run_id)
    for part in missing.staged:
        sender.pointer(Pointer(keys.staged_shard(run.run_id, part)))
        done.staged += 1
    for part in range(run.parts):
        for lacking in pending(place.storage, tables, run, part):
            for pointer in _ended(place, lacking, done):
                sender.pointer(pointer)
                done.staged += 1
    sender.end()
    return done


def _ended(place: Place, lacking: Pending, done: Settled) -> list[Pointer]:
    """The staged objects to commit, once the last of the batch leaves nothing undone."""
    pointers = list(lacking.staged)
    while lacking.open is not None:
        batch = lacking.open
        if place.storage.put_new(keys.staged(batch), _dead(batch, place.clock(), place.lane)):
            pointers.append(Pointer(keys.staged(batch), len(batch.tasks)))
            done.tasks += len(batch.tasks)
            break
        # A fetch was faster; what it left undone is the next cut.
        lacking = follow(place.storage, batch)
        pointers.extend(lacking.staged)
    return pointers


def _dead(batch: Batch, now: float, lane: str) -> bytes:
    pages = [unasked_page(task, "failed", "dead", now) for task in batch.tasks]
    return encode_staged(batch, pages, lane=lane)
