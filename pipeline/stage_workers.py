"""The three stages as loops over their queues: as threads of one run, or each a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from pipeline.bootstrap import Place, new_runner
from pipeline.catalog import Tables
from pipeline.http_client import AiohttpClient
from pipeline.iceberg import open_folder_catalog
from pipeline.queues.protocol import Queue
from pipeline.retrieve import Retriever
from pipeline.robots import RobotsShelf
from pipeline.source_files import LoadedSource, read_secrets
from pipeline.steps.aggregate import AggregateStep
from pipeline.steps.fetch import FetchStep
from pipeline.steps.shard import ShardStep
from pipeline.worker import Drawing, one_by_one, work

POINTERS_AT_ONCE = 2_000
"""Staged objects of one aggregate call at most."""

WINDOW = 10.0
"""Seconds that aggregate collects pointers before it commits: few large files, rows soon enough."""

Stopped = Callable[[], bool]


class StageThread(threading.Thread):
    """A stage's thread; what ends it before its time is kept for the one who waits for it."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        super().__init__(name=name)
        self._work = work
        self.error: Exception | None = None

    def run(self) -> None:
        """Work until stopped, or until something cannot be gone on with."""
        try:
            self._work()
        # Nothing is swallowed: it is raised in the thread that waits for all of them.
        except Exception as error:  # noqa: BLE001
            self.error = error


def raise_first_error(threads: Iterable[StageThread]) -> None:
    """Raise what ended a thread before its time, if anything did."""
    for thread in threads:
        if thread.error is not None:
            raise thread.error


def shard_worker(
    place: Place, log: Any, stopped: Stopped, admit: Callable[[Queue], None] | None = None
) -> None:
    """Shard parts of runs until stopped."""
    queues = place.open_queues()
    try:
        step = ShardStep(place.storage, queues, place.metrics, log, *([admit] if admit is not None else []))
        work(
            queues.keywords,
            one_by_one(step),
            stopped=stopped,
            log=log.bind(stage="shard"),
            drawing=Drawing(patience=place.patience),
        )
    finally:
        queues.close()


def fetch_worker(place: Place, source: LoadedSource, log: Any, stopped: Stopped) -> None:
    """Fetch batches of one source until stopped; what is on its way then is staged first."""
    client = AiohttpClient(read_secrets(source.source))
    queues = place.open_queues()
    log = log.bind(stage="fetch", source=source.source.name)
    with new_runner() as runner:
        try:
            retriever = Retriever(
                source.source, source.extractor, client, place.pacer, place.user_agent, place.clock, log=log
            )
            if source.source.obeys_robots:
                shelf = RobotsShelf(place.storage, place.clock)
                retriever = msgspec.structs.replace(retriever, robots=shelf)
            step = FetchStep(
                place.storage,
                queues,
                retriever,
                runner,
                place.metrics,
                log,
                deadline=lambda started: 0.0 if stopped() else started + place.longest,
            )
            work(
                queues.fetch(source.source.name),
                one_by_one(step),
                stopped=stopped,
                log=log,
                drawing=Drawing(patience=place.patience),
            )
        finally:
            runner.run(client.close())
            queues.close()


def aggregate_worker(
    place: Place, log: Any, stopped: Stopped, hurried: Callable[[], bool] = lambda: False
) -> None:
    """Commit what was staged until stopped."""
    queues = place.open_queues()
    try:
        tables = Tables(open_folder_catalog(place.lake))
        tables.create()
        step = AggregateStep(place.storage, tables, place.metrics, log)
        work(
            queues.results,
            step,
            stopped=stopped,
            log=log.bind(stage="aggregate"),
            drawing=Drawing(POINTERS_AT_ONCE, WINDOW, patience=place.patience),
            hurried=hurried,
        )
    finally:
        queues.close()
