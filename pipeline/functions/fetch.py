"""Function fetch: batches of one source asked of its engine, within the invocation's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.functions.runtime import Opened, Remaining, open_function
from pipeline.source_files import check_contact, pick_source
from pipeline.worker import BatchHandler, one_by_one
from pipeline.workers.fetch import FetchStage


def open_fetch(remaining: Remaining) -> tuple[Opened, BatchHandler]:
    """The function's world, and what it does with a batch of its source."""
    opened = open_function("fetch", of_a_source=True)
    source = pick_source(opened.place.sources, opened.settings.source)
    check_contact(source.source, opened.settings.contact)
    queues = opened.place.open_queues()
    # What is asked last may take this long to be answered; ended in mid-request it would be asked again.
    answer = source.source.spec.limits.timeout
    stage = FetchStage(opened.place, source, queues, opened.log, lambda _started: remaining.until() - answer)
    asked = one_by_one(stage.step)

    def handle(bodies: Sequence[bytes]) -> Mapping[int, Exception]:
        try:
            return asked(bodies)
        finally:
            # A connection that slept through a freeze looks alive, and costs a task an attempt.
            stage.rest()

    return opened, handle
