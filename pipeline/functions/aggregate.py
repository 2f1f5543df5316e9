"""Function aggregate: staged batches that pointers name go into the tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from pipeline.functions.runtime import Opened, Remaining, open_function
from pipeline.worker import BatchHandler
from pipeline.workers.aggregate import aggregate_step


def open_aggregate(_remaining: Remaining) -> tuple[Opened, BatchHandler]:
    """The function's world, and what it does with pointers."""
    opened = open_function("aggregate", with_sources=False)
    step = aggregate_step(opened.place, opened.log)

    def handle(bodies: Sequence[bytes]) -> Mapping[int, Exception]:
        started = time.monotonic()
        failed = step(bodies)
        opened.metrics.observe("commit_ms", (time.monotonic() - started) * 1000)
        return failed

    return opened, handle
