"""Function fetch: batches of one source asked of its engine, within the invocation's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pipeline.functions.runtime import Opened, Remaining, open_function
from pipeline.source_files import LoadedSource, check_contact, pick_source
from pipeline.worker import BatchHandler, one_by_one
from pipeline.workers.fetch import FetchStage


def within(loaded: LoadedSource, seconds: float, log: Any) -> LoadedSource:
    """The source with requests of half an invocation at most: longer ones could never be begun."""
    limits, most = loaded.source.spec.limits, seconds / 2
    if limits.timeout <= most or most <= 0:
        return loaded
    log.warning(
        "limits.timeout is longer than half a function's time, which is used instead: "
        "shorten it in the source's file, or give the function more time",
        timeout=limits.timeout,
        used=round(most, 1),
    )
    limits = msgspec.structs.replace(limits, timeout=most)
    spec = msgspec.structs.replace(loaded.source.spec, limits=limits)
    return msgspec.structs.replace(loaded, source=msgspec.structs.replace(loaded.source, spec=spec))


def open_fetch(remaining: Remaining) -> tuple[Opened, BatchHandler]:
    """The function's world, and what it does with a batch of its source."""
    opened = open_function("fetch", of_a_source=True)
    source = pick_source(opened.place.sources, opened.settings.source)
    source = within(source, remaining.until() - opened.place.clock(), opened.log)
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
