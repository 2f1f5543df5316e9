"""The backlog: batches that a source's rate or quota cannot reach within its horizon wait as objects.

A queue is no place for them: it forgets after days, and a long run in it would stand before every
later one. Shard writes them, ``conduct`` releases them as the queue drains, run after run in turns; of a
paused run fetch brings back what it meets in the queue.
Everything here may happen twice: a batch that is sent again finds its staged object.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest

import msgspec

from pipeline import keys
from pipeline.errors import Permanent, Unreadable
from pipeline.queues.names import Queues
from pipeline.run_control import Said, said_of
from pipeline.runs import batch_size, find_run
from pipeline.storage.protocol import Storage
from stages.quota import DAY
from stages.records import Batch
from stages.run import Run

EACH_RUN = 1 / 20
"""Share of the horizon that every run may put into the queue, however long that is already."""

SOON = 600.0
"""Seconds before its moment that a batch of a spread run goes into the queue: less than one delay lasts."""

CHUNK_SPREAD = 120.0
"""Seconds of a spread run that one object holds at most."""

BATCHES_A_CHUNK = 100
"""Batches of one object at most: about a megabyte."""

_encoder = msgspec.json.Encoder()


class Room(msgspec.Struct, frozen=True):
    """How many tasks a source's queue may hold. ``quota`` is requests a day; 0 is none."""

    rate: float
    horizon: float
    quota: int = 0

    @property
    def tasks(self) -> float:
        """What the rate asks within the horizon, in a day's proportion of the quota at most."""
        reach = min(self.rate, self.quota / DAY) if self.quota else self.rate
        return reach * self.horizon

    @property
    def chunk(self) -> int:
        """Tasks of one object in the backlog: few enough that runs take turns within the horizon."""
        return max(1, int(self.tasks * EACH_RUN))

    def left(self, queues: Queues, source: str) -> float:
        """Tasks that still fit, as well as the broker knows."""
        depth = queues.fetch(source).depth()
        return self.tasks - (depth.waiting + depth.in_flight) * batch_size(self.rate)


class BacklogOutlet:
    """The way out of shard: into the queue what rate and quota can do soon, into the backlog the rest."""

    def __init__(
        self,
        storage: Storage,
        queues: Queues,
        rates: Mapping[str, float],
        horizon: float,
        quotas: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``rates`` of every source, ``quotas`` of those that have one; ``clock`` says what is due soon."""
        self._clock = clock
        self._storage = storage
        self._queues = queues
        a_day = quotas if quotas is not None else {}
        self._rooms = {source: Room(rate, horizon, a_day.get(source, 0)) for source, rate in rates.items()}

    def __call__(self, run: Run, part: int) -> _PartSender:
        """The sender of one part of a run."""
        soon = self._clock() + SOON
        return _PartSender(self._storage, self._queues, self._rooms, run, part, soon)


class _PartSender:
    def __init__(
        self,
        storage: Storage,
        queues: Queues,
        rooms: Mapping[str, Room],
        run: Run,
        part: int,
        soon: float,
    ) -> None:
        self._soon = soon
        self._storage = storage
        self._queues = queues
        self._rooms = rooms
        self._run = run
        self._part = part
        self._left: dict[str, float] = {}
        self._held: dict[str, list[Batch]] = {}

    def send(self, source: str, batches: Sequence[Batch]) -> None:
        """Send while there is room; what comes after the first that was held back is held back too."""
        if source not in self._rooms:
            raise Permanent(
                f"source {source} of run {self._run.run_id} is not deployed any more: deploy it again"
            )
        left = self._left.get(source)
        if left is None:
            room = self._rooms[source]
            left = max(room.left(self._queues, source), room.tasks * EACH_RUN / self._run.parts)
        direct: list[Batch] = []
        held = self._held.setdefault(source, [])
        for batch in batches:
            # A spread run has no more room than what of it is due soon.
            if left > 0 and not held and batch.not_before <= self._soon:
                direct.append(batch)
                left -= len(batch.tasks)
            else:
                left = 0.0
                held.append(batch)
        self._left[source] = left
        if direct:
            bodies = [_encoder.encode(batch) for batch in direct]
            self._queues.fetch(source).send(bodies, group=self._run.run_id)
        self._write(source, least=BATCHES_A_CHUNK)

    def end(self) -> None:
        """Write what is still held."""
        for source in self._held:
            self._write(source, least=1)

    def _write(self, source: str, least: int) -> None:
        held = self._held[source]
        while len(held) >= least:
            chunk: list[Batch] = []
            tasks = 0
            while held and len(chunk) < BATCHES_A_CHUNK and (not chunk or tasks < self._rooms[source].chunk):
                if chunk and held[0].not_before - chunk[0].not_before > CHUNK_SPREAD:
                    break
                tasks += len(held[0].tasks)
                chunk.append(held.pop(0))
            folder = keys.backlog_of(source, self._run.created_at, self._run.run_id)
            # Named after its first batch: a repeat that begins elsewhere replaces no chunk by another.
            key = keys.backlog_chunk(folder, self._part, chunk[0].batch_no, tasks, chunk[0].not_before)
            self._storage.put(key, b"\n".join(_encoder.encode(batch) for batch in chunk) + b"\n")


def hold(storage: Storage, batch: Batch) -> bool:
    """Take a batch of a paused run out of its queue, where it would only fill the room of others.

    It waits in the run's backlog, and is released as all else there. Its message may go when this returns
    True; a run without a record has no backlog. A message that comes twice is held once.
    """
    run = find_run(storage, batch.run_id)
    if run is None:
        return False
    batch = msgspec.structs.replace(batch, hop=batch.hop + 1)
    folder = keys.backlog_of(batch.source, run.created_at, run.run_id)
    storage.put(keys.backlog_held(folder, batch), _encoder.encode(batch) + b"\n")
    return True


class Released(msgspec.Struct, frozen=True):
    """What one turn of ``release`` did, and what still waits: in chunks and in tasks."""

    chunks: int = 0
    tasks: int = 0
    chunks_left: int = 0
    tasks_left: int = 0


def release(
    storage: Storage,
    queues: Queues,
    source: str,
    room: Room,
    stopped: Callable[[], bool] = lambda: False,
    now: float = math.inf,
) -> Released:
    """Send chunks of a source's backlog while its queue has room for them.

    The oldest run begins and every run has its turn: a round that was begun is ended, though the queue gets
    fuller than it should, or a long run would have all the room that ever comes. A paused run keeps its
    chunks; a cancelled one gives all of them at once, since they ask for nothing. A spread run gives those
    that are due soon after ``now``. A chunk is deleted when it was sent.
    """
    runs = _chunks_by_run(storage, source)
    left = room.left(queues, source)
    sent = tasks = paid = 0
    for chunk in _in_turns(storage, runs, now + SOON):
        full = paid >= left and not chunk.free
        if stopped() or (full and chunk.begins):
            break
        held = storage.find(chunk.key)
        if held is None:
            # Another look, begun before this one ended, was faster.
            continue
        bodies = [body for body in held.split(b"\n") if body]
        queues.fetch(source).send(bodies, group=chunk.run_id)
        storage.delete(chunk.key)
        sent += 1
        tasks += chunk.tasks
        paid += 0 if chunk.free else chunk.tasks
    waiting = [chunk for chunks in runs.values() for chunk in chunks]
    return Released(sent, tasks, len(waiting) - sent, sum(chunk.tasks for chunk in waiting) - tasks)


class _Chunk(msgspec.Struct, frozen=True):
    key: str
    run_id: str
    tasks: int
    moment: float = 0.0
    free: bool = False
    begins: bool = False


def _chunks_by_run(storage: Storage, source: str) -> dict[str, list[_Chunk]]:
    """The chunks of every run, runs in the order of their age."""
    runs: dict[str, list[_Chunk]] = {}
    for key in storage.keys(keys.backlog(source)):
        *_, folder, name = key.split("/")
        run_id = folder.partition("-")[2]
        runs.setdefault(run_id, []).append(_Chunk(key, run_id, *keys.chunk_terms(name)))
    return runs


def _in_turns(storage: Storage, runs: Mapping[str, Sequence[_Chunk]], soon: float) -> Iterator[_Chunk]:
    """Cancelled runs' chunks first, then one of each run that is not paused and is due, round after round.

    The first of a round ``begins`` it.
    """
    said = {run_id: _said(storage, run_id) for run_id in runs}
    for run_id, chunks in runs.items():
        if said[run_id] == "cancelled":
            yield from (msgspec.structs.replace(chunk, free=True) for chunk in chunks)
    asking = [
        [chunk for chunk in chunks if chunk.moment <= soon]
        for run_id, chunks in runs.items()
        if not said[run_id]
    ]
    for turn in zip_longest(*asking):
        chunks = [chunk for chunk in turn if chunk is not None]
        yield msgspec.structs.replace(chunks[0], begins=True)
        yield from chunks[1:]


def _said(storage: Storage, run_id: str) -> Said:
    """What was said of a run; one whose record is damaged waits, and keeps no other waiting."""
    try:
        return said_of(storage, run_id)
    except Unreadable:
        return "paused"
