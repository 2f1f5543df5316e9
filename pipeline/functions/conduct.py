"""Function conduct: once a minute, each source's lanes, its closing and its backlog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.backlog import Room, release
from pipeline.conducting import conduct
from pipeline.errors import PipelineError
from pipeline.functions.runtime import Opened, Remaining, open_function
from pipeline.mappings import LambdaMappings
from pipeline.queues.names import Queues

Action = Callable[[Mapping[str, Any], Remaining], Any]


def open_conduct() -> tuple[Opened, dict[str, Action]]:
    """The function's world, and its one action."""
    opened = open_function("conduct", with_sources=False)
    queues = opened.place.open_queues()

    def look(_event: Mapping[str, Any], remaining: Remaining) -> Any:
        seen: dict[str, dict[str, Any]] = {source: {} for source in opened.settings.mappings}
        failed: PipelineError | None = None
        # Closing what refuses comes first, for every source; a long backlog takes what time is left.
        for step in (_conducted, _released):
            for source, told in seen.items():
                try:
                    told.update(step(opened, queues, source, remaining))
                except PipelineError as error:
                    # One source's trouble keeps no other waiting; the function fails after all had a turn.
                    opened.log.warning("source not conducted", source=source, error=str(error))
                    failed = error
        if failed is not None:
            raise failed
        return seen

    return opened, {"conduct": look}


def _conducted(opened: Opened, _queues: Queues, source: str, _remaining: Remaining) -> dict[str, Any]:
    place, settings = opened.place, opened.settings
    state = place.pacer.state(source)
    done = conduct(
        place.storage,
        LambdaMappings(opened.clients.lambda_),
        source,
        settings.mappings[source],
        state,
        now=place.clock(),
        lane_seconds=settings.lane_minutes * 60,
    )
    opened.metrics.of(source).add("closed", float(bool(state.closed_since)))
    closed = state.reason if state.closed_since else ""
    return {"lane": done.lane, "working": done.working, "switched": done.switched, "closed": closed}


def _released(opened: Opened, queues: Queues, source: str, remaining: Remaining) -> dict[str, Any]:
    place, settings = opened.place, opened.settings
    room = Room(settings.terms[source].rate, settings.horizon)
    released = release(place.storage, queues, source, room, lambda: place.clock() > remaining.until())
    depth = queues.fetch(source).depth()
    metrics = opened.metrics.of(source)
    metrics.add("queue_depth", depth.waiting + depth.in_flight)
    metrics.add("backlog_tasks", released.tasks_left)
    return {
        "queued": depth.waiting + depth.in_flight,
        "released": released.tasks,
        "backlog": released.tasks_left,
    }
