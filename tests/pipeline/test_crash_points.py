"""Invariant 1, at every side effect: killed just before or just after it, a run resumed ends the same.

Storage, queues and commits are the real ones of one machine, wrapped so that the nth effect kills.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import keys
from pipeline.catalog import Tables
from pipeline.iceberg import open_folder_catalog
from pipeline.metrics import MemoryMetrics
from pipeline.pacers.memory import MemoryPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.queues.memory import MemoryBroker
from pipeline.queues.names import Queues
from pipeline.steps.aggregate import AggregateStep
from pipeline.steps.fetch import FetchStep
from pipeline.steps.shard import QueueOutlet, ShardStep
from pipeline.storage.folder import FolderStorage
from pipeline.worker import one_by_one, settle
from stages.run import ShardTask
from tests.pipeline.kit import (
    API,
    LOG,
    Clock,
    Engine,
    broken,
    each_once,
    http,
    make_retriever,
    make_run,
    table_rows,
)

KEYWORDS = [f"keyword {n}" for n in range(12)]
FILE = "\n".join([*KEYWORDS, "keyword 3", "", "bad\x00line"]).encode()
SCRIPT = {
    "keyword 1": [http(500)],
    "keyword 5": [broken("cut_short"), broken("timeout")],
    "keyword 7": [http(429, retry_after="3")],
    "keyword 9": [http(404)] * 5,
}
KEY = "keywords/x/list.txt"


class Killed(BaseException):
    """The process is gone; no ``except Exception`` may catch that."""


class Killer:
    """Counts side effects and kills at the chosen one, before or after it happened."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.seen = at, after, 0

    def __call__(self, target: Any, *effects: str) -> Any:
        """The target, with these methods counted."""
        return _Watched(self, target, effects)


class _Watched:
    def __init__(self, killer: Killer, target: Any, effects: tuple[str, ...]) -> None:
        self._killer, self._target, self._effects = killer, target, effects

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if name not in self._effects:
            return method

        def counted(*args: Any, **kwargs: Any) -> Any:
            killer = self._killer
            killer.seen += 1
            if killer.seen == killer.at and not killer.after:
                raise Killed
            answer = method(*args, **kwargs)
            if killer.seen == killer.at:
                raise Killed
            return answer

        return counted


class Process:
    """One life of a process that does everything: its queues may be new or those of the last life."""

    def __init__(
        self, lake: Path, broker: MemoryBroker, engine: Engine, clock: Clock, killer: Killer
    ) -> None:
        storage = killer(FolderStorage(lake), "put", "put_new", "put_file", "delete")
        self.queues = Queues(killer(broker), "t")
        for queue in ("keywords", "results"):
            getattr(self.queues, queue)
        watched = {name: killer(queue, "send", "ack") for name, queue in self.queues._opened.items()}
        fetch_queue = keys.fetch_queue("t", API)
        watched[fetch_queue] = killer(self.queues.fetch(API), "send", "ack")
        self.queues._opened.update(watched)
        tables = Tables(open_folder_catalog(lake), sleep=lambda _seconds: None)
        tables.create()
        tables._append = killer(tables, "_append")._append  # type: ignore[method-assign]
        retriever = make_retriever(engine, clock, Pacer(MemoryPaceStore(), clock), concurrency=2)
        self.runner = asyncio.Runner()
        metrics = MemoryMetrics()
        fetch = FetchStep(
            storage, self.queues, retriever, self.runner, metrics, LOG, lambda _started: float("inf")
        )
        self.handlers = [
            (
                self.queues.keywords,
                one_by_one(ShardStep(storage, self.queues, metrics, LOG, QueueOutlet(self.queues))),
                1,
            ),
            (self.queues.fetch(API), one_by_one(fetch), 1),
            (self.queues.results, AggregateStep(storage, tables, metrics, LOG), 3),
        ]
        self.clock = clock

    def work(self) -> None:
        """Until nothing is waiting; delayed messages make the clock move."""
        while any(queue.depth().waiting for queue, _, _ in self.handlers):
            for queue, handle, most in self.handlers:
                while received := queue.receive(most, wait=0):
                    settle(queue, received, handle, LOG)
            self.clock.now += 5

    def close(self) -> None:
        self.runner.close()
        for queue in self.queues._opened.values():
            queue.close()


def live(
    lake: Path, broker: MemoryBroker, engine: Engine, clock: Clock, killer: Killer, *, drop: bool
) -> bool:
    """One life; whether it ended by itself. ``drop`` sends the parts first, as ``serpline run`` does."""
    process = Process(lake, broker, engine, clock, killer)
    try:
        if drop:
            process.queues.keywords.send([msgspec.json.encode(ShardTask("run1", 0))])
        process.work()
    except Killed:
        return False
    finally:
        process.close()
    return True


def new_lake(folder: Path) -> Path:
    storage = FolderStorage(folder)
    storage.put(KEY, FILE)
    storage.put(keys.run("run1"), msgspec.json.encode(make_run(KEY, size=len(FILE))))
    return folder


def check(lake: Path, engine: Engine, lives: int) -> None:
    tables = Tables(open_folder_catalog(lake))
    ledger = tables.ledger("run1", "2026-11-23")
    row = ledger.shards[0]
    assert len(ledger.shards) == 1
    assert (row.lines, row.kept, row.duplicates, row.rejected, row.tasks) == (14, 12, 1, 1, 12)
    assert row.lines == row.kept + row.duplicates + row.rejected
    assert ledger.complete
    assert each_once(lake) == {(keyword, 1): 1 for keyword in KEYWORDS}
    statuses = dict(table_rows(lake, "keyword", "status"))
    assert statuses.pop("keyword 9") == "failed"
    assert set(statuses.values()) == {"ok"}
    rejects = FolderStorage(lake).get(keys.rejects("run1", 0)).decode().splitlines()
    assert len(rejects) == 1
    # Invariant 4: a killed life may have asked what it could not keep; no life asks without end.
    assert len(engine.asked) <= len(KEYWORDS) * 3 * lives


def crash_points() -> Iterator[tuple[int, bool]]:
    for at in itertools.count(1):
        yield at, False
        yield at, True


@pytest.mark.timeout(600)  # a minute of reckoning, on a busy machine several
@pytest.mark.parametrize("keep_queue", [True, False], ids=["queue survives", "queue in memory"])
def test_a_kill_around_any_side_effect_loses_and_doubles_nothing(tmp_path: Path, *, keep_queue: bool):
    """Whichever effect was the last, the next life ends with every task exactly once.

    With a broker that survives, the unacknowledged message is delivered again; with queues in memory
    the parts are sent again, as by the same command.
    """
    for at, after in crash_points():
        lake = new_lake(tmp_path / f"{at}-{after}")
        clock, engine = Clock(), Engine(SCRIPT)
        broker = MemoryBroker(max_receives=50, clock=clock)
        killer = Killer(at, after=after)
        whole = live(lake, broker, engine, clock, killer, drop=True)
        if whole and killer.seen < at:
            assert at > 20, "the wrapped side effects were not met"
            return
        again = broker if keep_queue else MemoryBroker(max_receives=50, clock=clock)
        # The parts may have been dropped by the life that was killed; to drop again is harmless.
        assert live(lake, again, engine, clock, Killer(-1, after=True), drop=True)
        check(lake, engine, lives=2)
