"""A lake whose messages a test may lose: every stage in one thread, over an engine without a wire."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from pipeline import keys
from pipeline.backlog import BacklogOutlet
from pipeline.bootstrap import Place, open_place
from pipeline.catalog import Ledger, Tables
from pipeline.queues.memory import MemoryBroker
from pipeline.queues.names import Queues
from pipeline.queues.protocol import Queue
from pipeline.repair import Repaired, repair
from pipeline.run_control import RunControls
from pipeline.settings import Settings
from pipeline.settling import Settled, settle
from pipeline.steps.aggregate import AggregateStep
from pipeline.steps.fetch import FetchStep
from pipeline.steps.shard import ShardStep
from stages.run import Run, ShardTask
from tests.pipeline.kit import API, LOG, Clock, Engine, each_once, http, make_retriever, make_run, table_rows

Fate = Callable[[str, bytes], str]
"""What becomes of a delivery: it is worked on (""), lost or buried ("dead")."""


class World:
    """One lake with its queues and steps; ``deliver`` works until the queues are empty."""

    def __init__(self, lake: Path) -> None:
        self.lake = lake
        self.clock = Clock()
        self.broker = MemoryBroker(clock=self.clock)
        self.queues = Queues(self.broker, "serpline", shared=True)
        self.place: Place = msgspec.structs.replace(
            open_place(Settings(), lake=lake),
            clock=self.clock,
            open_queues=lambda: Queues(self.broker, "serpline", shared=True),
        )
        self.storage = self.place.storage
        self.tables = Tables(self.place.open_catalog(), sleep=lambda _: None)
        self.tables.create()
        self.engine = Engine()
        self.deadline = math.inf
        self.runner = asyncio.Runner()
        self.horizon = math.inf

    def close(self) -> None:
        self.runner.close()

    def drop(self, content: str, name: str = "k.txt", **fields: object) -> Run:
        """Freeze a run of the file and send its parts."""
        fields = {"by": "workers", "batch_size": 4, "size": len(content.encode()), **fields}
        run = make_run(f"keywords/x/{name}", **fields)
        self.storage.put(run.key, content.encode())
        self.storage.put(keys.run(run.run_id), msgspec.json.encode(run))
        for part in range(run.parts):
            self.queues.keywords.send([msgspec.json.encode(ShardTask(run.run_id, part))])
        return run

    def deliver(self, fate: Fate = lambda _stage, _body: "") -> None:
        """Work on every message, as its fate is, until none is left; time passes where one must wait."""
        outlet = BacklogOutlet(self.storage, self.queues, {API: 1.0}, self.horizon)
        shard = ShardStep(self.storage, self.queues, self.place.metrics, LOG, outlet)
        retriever = make_retriever(self.engine, self.clock, concurrency=1)
        fetch = FetchStep(
            self.storage,
            self.queues,
            retriever,
            self.runner,
            self.place.metrics,
            LOG,
            lambda _started: self.deadline,
            controls=RunControls(self.storage, self.clock),
        )
        aggregate = AggregateStep(self.storage, self.tables, self.place.metrics, LOG)

        def commit(body: bytes) -> None:
            assert aggregate([body]) == {}

        steps = (
            ("shard", self.queues.keywords, shard),
            ("fetch", self.queues.fetch(API), fetch),
            ("aggregate", self.queues.results, commit),
        )
        while self._waiting():
            moved = sum(self._work(stage, queue, step, fate) for stage, queue, step in steps)
            if not moved:
                self.clock.now += 60

    def _waiting(self) -> int:
        opened = (self.queues.keywords, self.queues.fetch(API), self.queues.results)
        return sum(queue.depth().waiting for queue in opened)

    def _work(self, stage: str, queue: Queue, step: Callable[[bytes], object], fate: Fate) -> int:
        received = queue.receive(1000, wait=0.0)
        for one in received:
            decided = fate(stage, one.body)
            if decided == "dead":
                queue.bury(one, reason="killed")
                continue
            if decided != "lost":
                step(one.body)
            queue.ack(one)
        return len(received)

    def repair(self, run: Run) -> Repaired:
        return repair(self.place, run, self.tables, self.queues)

    def settle(self, run: Run) -> Settled:
        return settle(self.place, run, self.tables, self.queues)

    def ledger(self, run: Run) -> Ledger:
        return self.tables.ledger(run.run_id, run.run_date)

    def each_once(self) -> Counter[tuple[object, ...]]:
        return each_once(self.lake)

    def statuses(self) -> dict[object, tuple[object, ...]]:
        """How each keyword ended."""
        return {row[0]: row[1:] for row in table_rows(self.lake, "keyword", "status", "reason")}

    def staged(self) -> list[str]:
        return [key for key in self.storage.keys("staging/") if not keys.is_shard(key)]


def keywords(count: int) -> list[str]:
    return [f"keyword {number}" for number in range(count)]


def text(count: int) -> str:
    return "\n".join(keywords(count))


def stumbling(names: list[str], times: int = 1) -> Engine:
    """An engine that fails at these keywords so often before it answers: their batches are cut."""
    return Engine({name: [http(500)] * times for name in names})
