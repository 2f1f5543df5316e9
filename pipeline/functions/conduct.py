"""Function conduct: once a minute, each source's lanes, its closing and its backlog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pipeline.backlog import Room, release
from pipeline.bootstrap_aws import deployed_source
from pipeline.closings import tell
from pipeline.conducting import conduct, shut
from pipeline.errors import PipelineError
from pipeline.functions.runtime import Opened, Remaining, open_function
from pipeline.mappings import LambdaMappings
from pipeline.queues.names import Queues
from pipeline.storage.s3 import S3Storage
from stages.source import Politeness

Action = Callable[[Mapping[str, Any], Remaining], Any]


def open_conduct() -> tuple[Opened, dict[str, Action]]:
    """The function's world, and its one action."""
    opened = open_function("conduct", with_sources=False)
    return opened, {"conduct": looking(opened, partial(_filed, opened))}


def looking(opened: Opened, terms_of: Callable[[str], Politeness]) -> Action:
    """A look at every source; ``terms_of`` gives what its file says of its pace, and is asked at each look.

    A deployment's terms come with a new process, but the file in the bucket may have another quota by now.
    """
    queues = opened.place.open_queues()

    def look(_event: Mapping[str, Any], remaining: Remaining) -> Any:
        seen: dict[str, dict[str, Any]] = {source: {} for source in opened.settings.mappings}
        failed: PipelineError | None = None
        files: dict[str, Politeness] = {}
        # Closing what refuses comes first, for every source; a long backlog takes what time is left.
        for step in (
            partial(_read, terms_of, files),
            partial(_conducted, files),
            partial(_released, files),
        ):
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

    return look


def _read(
    terms_of: Callable[[str], Politeness],
    files: dict[str, Politeness],
    _opened: Opened,
    _queues: Queues,
    source: str,
    _remaining: Remaining,
) -> dict[str, Any]:
    """What the source's file says of its pace. A wrong one keeps its own source's backlog alone."""
    files[source] = terms_of(source)
    return {}


def _filed(opened: Opened, source: str) -> Politeness:
    """What the file in the bucket says."""
    assert isinstance(opened.place.storage, S3Storage)  # noqa: S101  # a bucket's storage
    return deployed_source(opened.settings, opened.place.storage, source).source.spec.politeness


def _conducted(
    files: Mapping[str, Politeness], opened: Opened, queues: Queues, source: str, _remaining: Remaining
) -> dict[str, Any]:
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
        rest_seconds=settings.lane_rest_minutes * 60,
        terms=files.get(source),
    )
    opened.metrics.of(source).add("closed", shut(state, place.clock()))
    # What a function closed or reopened and did not live to tell.
    tell(source, state.untold, place.pacer, place.storage, queues.results, opened.log)
    closed = state.reason if state.closed_since else ""
    return {"lane": done.lane, "working": done.working, "switched": done.switched, "closed": closed}


def _released(
    files: Mapping[str, Politeness],
    opened: Opened,
    queues: Queues,
    source: str,
    remaining: Remaining,
) -> dict[str, Any]:
    place = opened.place
    if source not in files:
        return {}
    room = Room(files[source].rate, opened.settings.horizon, files[source].quota)
    released = release(
        place.storage,
        queues,
        source,
        room,
        lambda: place.clock() > remaining.until(),
        now=place.clock(),
    )
    depth = queues.fetch(source).depth()
    metrics = opened.metrics.of(source)
    metrics.add("queue_depth", depth.waiting + depth.in_flight)
    metrics.add("backlog_tasks", released.tasks_left)
    return {
        "queued": depth.waiting + depth.in_flight,
        "released": released.tasks,
        "backlog": released.tasks_left,
    }
