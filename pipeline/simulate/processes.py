"""Processes: workers of each stage, which live, die, and begin again with whatever is deployed then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from pipeline import keys
from pipeline.errors import Unavailable
from pipeline.queues.protocol import Queue
from pipeline.retrieve import Retriever
from pipeline.robots import RobotsShelf
from pipeline.run_control import RunControls
from pipeline.simulate.asking import Budget
from pipeline.simulate.engine import Client
from pipeline.simulate.faults import Killed, Life
from pipeline.simulate.loop import VirtualLoop
from pipeline.simulate.storage import SimulatedStorage
from pipeline.simulate.world import World
from pipeline.steps.drop import DropStep, KeywordsStep
from pipeline.steps.fetch import decode_batch
from pipeline.worker import ONE, one_by_one, patient, settle
from stages.run import Run

RESTART = 30.0
"""Seconds until a killed process lives again, at most."""


class Process(Protocol):
    """One life of a worker."""

    queue: Queue
    most: int
    window: float

    def handle(self, bodies: Sequence[bytes]) -> Mapping[int, Exception]:
        """What is done with messages."""

    def close(self) -> None:
        """The end."""


Opener = Callable[[World, Life], Process]


def worker(world: World, name: str, open_process: Opener, ready: Callable[[], bool]) -> None:
    """Live again and again. ``ready`` says whether messages are handed over at all."""
    number = 0
    while True:
        number += 1
        life = world.faults.live(f"{name}.{number}")
        try:
            _live(world, life, open_process, ready)
        except Killed:
            world.timeline.sleep(world.random.random() * RESTART)


def _live(world: World, life: Life, open_process: Opener, ready: Callable[[], bool]) -> None:
    deployed = world.deployment
    process = open_process(world, life)
    try:
        while world.deployment is deployed:
            if not ready():
                world.timeline.sleep(20.0)
                continue
            try:
                received = process.queue.receive(process.most, wait=0.0)
                if not received:
                    world.mail.await_any(process.queue.name)
                    continue
                if process.window:
                    world.timeline.sleep(world.random.random() * process.window)
                    received += process.queue.receive(process.most, wait=0.0)
                settle(
                    process.queue,
                    received,
                    patient(process.handle, ONE, lambda: True, world.log),
                    world.log,
                )
            except Unavailable:
                world.timeline.sleep(2.0)
    finally:
        process.close()


class ShardProcess:
    """Freezes runs and shards their parts."""

    most = 2
    window = 0.0

    def __init__(self, world: World, life: Life) -> None:
        queues = world.queues(life)
        storage: Any = _Release(world.storage(life), world.deployment.cut)
        place = msgspec.structs.replace(world.place(life), storage=storage)
        drop = DropStep(storage, place.sources, place.drops, life.clock, world.log)
        shard = world.parts.shard(storage, queues, place.metrics, world.log, world.outlet(storage, queues))
        self.queue: Queue = queues.keywords
        self.handle = one_by_one(KeywordsStep(drop, shard, storage, queues))

    def close(self) -> None:
        """Nothing is held."""


class _Release:
    """Storage as a release of the code uses it: runs are frozen with this release's batch size and K.

    Both are constants of the code, so the record is changed on its way. The answer is that one was there,
    after which whoever froze it reads it.
    """

    def __init__(self, storage: SimulatedStorage, cut: Callable[[Run], Run]) -> None:
        self._storage = storage
        self._cut = cut

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)

    def put_new(self, key: str, body: bytes) -> bool:
        """As the storage does, but for the frozen run."""
        if not (key.startswith(keys.RUNS) and key.endswith("/run.json")):
            return self._storage.put_new(key, body)
        run = self._cut(msgspec.json.decode(body, type=Run))
        self._storage.put_new(key, msgspec.json.encode(run))
        return False


class FetchProcess:
    """Fetches batches of one source."""

    most = 1
    window = 0.0

    def __init__(self, world: World, life: Life, source: str, lane: str) -> None:
        """``lane`` is which of the source's functions it is."""
        asked = world.deployment.sources[source]
        queues = world.queues(life)
        place = world.place(life)
        self._world = world
        self._life = life
        limits = asked.loaded.source.spec.limits
        self._budget = Budget(limits.attempts, limits.refusals, world.moves)
        self._client = Client(world.engine, source, life)
        self._runner = asyncio.Runner(loop_factory=lambda: VirtualLoop(world.timeline))
        retriever = Retriever(
            asked.loaded.source,
            asked.extractor,
            self._client,
            place.pacer,
            place.user_agent,
            life.clock,
            world.random.random,
            log=world.log,
        )
        if asked.loaded.source.obeys_robots:
            shelf = RobotsShelf(place.storage, life.clock)
            retriever = msgspec.structs.replace(retriever, robots=shelf)
        self.step = world.parts.fetch(
            place.storage,
            queues,
            retriever,
            self._runner,
            place.metrics,
            world.log,
            lambda started: started + place.longest,
            lane=lane,
            controls=RunControls(place.storage, life.clock),
            backlog=place.backlog,
        )
        self.queue = queues.fetch(source)
        self.handle = one_by_one(self._fetch)

    def _fetch(self, body: bytes) -> None:
        with self._delivered(body):
            self.step(body)

    @contextmanager
    def _delivered(self, body: bytes) -> Iterator[None]:
        batch = decode_batch(body)
        asking = self._world.asking
        there = keys.staged(batch) in self._world.bucket.objects
        delivery = asking.begin(batch, self._life.name, self._budget, staged=there)
        self._client.delivery = delivery
        done = False
        try:
            yield
            done = True
        finally:
            asking.end(delivery, failed=not done)

    def close(self) -> None:
        """What is on its way ends unheard."""
        self._runner.close()


class AggregateProcess:
    """Commits what was staged."""

    window = 10.0

    def __init__(self, world: World, life: Life) -> None:
        place = world.place(life)
        step = world.parts.aggregate(place.storage, world.tables(life), place.metrics, world.log)
        self.queue: Queue = world.queues(life).results
        self.most = world.random.choice((3, 10, 100))
        self.handle = step

    def close(self) -> None:
        """Nothing is held."""
