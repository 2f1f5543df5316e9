"""The three stages as loops over their queues: as threads of one run, or each a process of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pipeline.bootstrap import Place, new_runner
from pipeline.catalog import Tables
from pipeline.http_client import AiohttpClient
from pipeline.iceberg import open_folder_catalog
from pipeline.queues.protocol import Queue
from pipeline.retrieve import Retriever
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


def shard_worker(
    place: Place, log: Any, stopped: Stopped, admit: Callable[[Queue], None] | None = None
) -> None:
    """Shard parts of runs until stopped."""
    queues = place.open_queues()
    try:
        step = ShardStep(place.storage, queues, place.metrics, log, *([admit] if admit is not None else []))
        work(queues.keywords, one_by_one(step), stopped=stopped, log=log.bind(stage="shard"))
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
            step = FetchStep(
                place.storage,
                queues,
                retriever,
                runner,
                place.metrics,
                log,
                deadline=lambda: 0.0 if stopped() else math.inf,
            )
            work(queues.fetch(source.source.name), one_by_one(step), stopped=stopped, log=log)
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
            drawing=Drawing(most=POINTERS_AT_ONCE, window=WINDOW),
            hurried=hurried,
        )
    finally:
        queues.close()
