"""Function shard: dropped files become runs, parts of runs become batches."""

from __future__ import annotations

from pipeline.functions.runtime import Opened, Remaining, open_function
from pipeline.worker import BatchHandler, one_by_one
from pipeline.workers.shard import keywords_step


def open_shard(_remaining: Remaining) -> tuple[Opened, BatchHandler]:
    """The function's world, and what it does with a message of the keywords queue."""
    opened = open_function("shard")
    queues = opened.place.open_queues()
    return opened, one_by_one(
        keywords_step(opened.place, queues, opened.log, opened.place.open_outlet(queues))
    )
