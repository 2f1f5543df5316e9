"""A whole run on this machine: the three stages as threads on queues in memory, until all is accounted for.

Nothing but the lake remembers: after a kill, the same command shards the same batches again, fetch
finds what was staged, aggregate finds what was committed, and only what is missing is asked.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from pipeline import keys
from pipeline.attaching import ready_tables
from pipeline.bootstrap import Place
from pipeline.catalog import Ledger
from pipeline.closings import clear_told
from pipeline.disk_errors import of_disk
from pipeline.errors import Misuse, Retryable
from pipeline.queues.protocol import Queue
from pipeline.runs import clear_staging, finish_run
from pipeline.steps.shard import QueueOutlet
from pipeline.workers.aggregate import aggregate_worker
from pipeline.workers.fetch import fetch_worker
from pipeline.workers.shard import shard_worker
from pipeline.workers.thread import StageThread, raise_first_error
from stages.run import Run, ShardTask

ROOM = 1_000
"""Batches that wait in a fetch queue before sharding pauses: memory stays bounded, fetch never starves."""

MOST_LETTERS = 10_000
"""Dead letters that are read at the end of a run."""

TICK = 0.05

_encoder = msgspec.json.Encoder()


class RunEnd(msgspec.Struct, frozen=True):
    """How a run on this machine ended: its ledger, the seconds it took, and messages that failed for good."""

    ledger: Ledger
    seconds: float
    dead: tuple[str, ...] = ()


def run_here(place: Place, run: Run, log: Any, on_tick: Callable[[], None] = lambda: None) -> RunEnd:
    """Run or resume a frozen run; ``on_tick`` is called a few times a second meanwhile.

    Raises ``Misuse`` where another process is at it or a source is gone, ``Unavailable`` where the disk
    or the catalog is. Interrupted (``KeyboardInterrupt``), it stages
    what is on its way and stops; nothing is lost.
    """
    started = time.monotonic()
    _check_sources(place, run, log)
    tables = ready_tables(place.open_catalog(), place.storage)
    with _locked(Path(place.lake) / keys.lock(run.run_id), run.run_id):
        dead = _drain(place, run, log, on_tick)
        ledger = tables.ledger(run.run_id, run.run_date)
        if ledger.complete:
            finish_run(place.storage, run.run_id, place.clock())
            # Its queues were this process's memory, so no late delivery will look for these.
            clear_staging(place.storage, run.run_id)
            clear_told(place.storage, tables)
    return RunEnd(ledger, time.monotonic() - started, tuple(dead))


def _check_sources(place: Place, run: Run, log: Any) -> None:
    """A run goes on with the sources that it was frozen with; one that says something new is logged."""
    gone = sorted(set(run.sources) - set(place.sources))
    if gone:
        raise Misuse(
            f"run {run.run_id} was frozen with source {', '.join(gone)}, which cannot be asked from here "
            "now: put its file, contact and secrets back, or drop the list again under another name"
        )
    for name, terms in run.sources.items():
        if place.sources[name].terms.hash != terms.hash:
            log.warning("the source file changed since the run was frozen", source=name)


def _drain(place: Place, run: Run, log: Any, on_tick: Callable[[], None]) -> list[str]:
    """Send every part and wait until all queues are empty; gives the queues' dead letters in words."""
    stop = threading.Event()
    queues = place.open_queues()
    sources = {name: place.sources[name] for name in run.sources}
    # In the order of the way: a message that moves on is seen in the queue behind.
    upstream = [queues.keywords, *(queues.fetch(name) for name in sources)]
    queues.keywords.send([_encoder.encode(ShardTask(run.run_id, part)) for part in range(run.parts)])

    def admit(queue: Queue) -> None:
        while True:
            if stop.is_set():
                raise Retryable("the run was interrupted while it was sharded")
            if queue.depth().waiting <= ROOM:
                return
            time.sleep(TICK)

    workers = [
        StageThread(
            "shard", lambda: shard_worker(place, log, stop.is_set, lambda queues: QueueOutlet(queues, admit))
        ),
        StageThread("aggregate", lambda: aggregate_worker(place, log, stop.is_set, lambda: _idle(upstream))),
        *(
            StageThread(f"fetch-{name}", partial(fetch_worker, place, source, log, stop.is_set))
            for name, source in sources.items()
        ),
    ]
    for worker in workers:
        worker.start()
    try:
        while not _idle([*upstream, queues.results]) and all(worker.is_alive() for worker in workers):
            on_tick()
            time.sleep(TICK)
    finally:
        stop.set()
        for worker in workers:
            worker.join()
        on_tick()
    raise_first_error(workers)
    return [
        f"{queue.name}: {letter.receipt.reason}"
        for queue in [*upstream, queues.results]
        for letter in queue.dead().receive(MOST_LETTERS, wait=0.0)
    ]


def _idle(queues: list[Queue]) -> bool:
    for queue in queues:
        depth = queue.depth()
        if depth.waiting or depth.in_flight:
            return False
    return True


@contextmanager
def _locked(path: Path, run_id: str) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("w")
    except OSError as error:
        raise of_disk(error, str(path)) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Misuse(
                f"run {run_id} is running in another process; `serpline status {run_id}` shows it"
            ) from error
        yield
