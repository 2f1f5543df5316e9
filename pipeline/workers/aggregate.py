"""Stage aggregate, opened from a place: what was staged goes into the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.bootstrap import Place
from pipeline.catalog import Tables
from pipeline.steps.aggregate import AggregateStep
from pipeline.worker import Drawing, work
from pipeline.workers.thread import Stopped

POINTERS_AT_ONCE = 2_000
"""Staged objects of one aggregate call at most."""

WINDOW = 10.0
"""Seconds that aggregate collects pointers before it commits: few large files, rows soon enough."""


def aggregate_step(place: Place, log: Any) -> AggregateStep:
    """What is done with messages of the results queue; the tables exist."""
    return AggregateStep(place.storage, Tables(place.open_catalog()), place.metrics, log)


def aggregate_worker(
    place: Place, log: Any, stopped: Stopped, hurried: Callable[[], bool] = lambda: False
) -> None:
    """Commit what was staged until stopped, into tables that are made where they do not exist."""
    queues = place.open_queues()
    try:
        Tables(place.open_catalog()).create()
        work(
            queues.results,
            aggregate_step(place, log),
            stopped=stopped,
            log=log.bind(stage="aggregate"),
            drawing=Drawing(POINTERS_AT_ONCE, WINDOW, patience=place.patience),
            hurried=hurried,
        )
    finally:
        queues.close()
