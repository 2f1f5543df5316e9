"""Stage shard, opened from a place: dropped files become runs, parts of runs become batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.bootstrap import Place
from pipeline.queues.names import Queues
from pipeline.steps.drop import DropStep, KeywordsStep
from pipeline.steps.shard import Outlet, ShardStep
from pipeline.worker import Drawing, one_by_one, work
from pipeline.workers.thread import Stopped


def keywords_step(place: Place, queues: Queues, log: Any, outlet: Outlet) -> KeywordsStep:
    """What is done with a message of the keywords queue."""
    log = log.bind(stage="shard")
    drop = DropStep(place.storage, place.sources, place.drops, place.clock, log)
    shard = ShardStep(place.storage, queues, place.metrics, log, outlet)
    return KeywordsStep(drop, shard, place.storage, queues)


def shard_worker(
    place: Place, log: Any, stopped: Stopped, outlet: Callable[[Queues], Outlet] | None = None
) -> None:
    """Shard parts of runs until stopped; ``outlet`` says where batches go, the fetch queues by default."""
    queues = place.open_queues()
    open_outlet = outlet if outlet is not None else place.open_outlet
    try:
        work(
            queues.keywords,
            one_by_one(keywords_step(place, queues, log, open_outlet(queues))),
            stopped=stopped,
            log=log.bind(stage="shard"),
            drawing=Drawing(patience=place.patience),
        )
    finally:
        queues.close()
