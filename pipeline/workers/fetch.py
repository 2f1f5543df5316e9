"""Stage fetch, opened from a place: batches of one source asked of its engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from pipeline.bootstrap import Place, new_runner
from pipeline.http_client import AiohttpClient
from pipeline.queues.names import Queues
from pipeline.retrieve import Retriever
from pipeline.robots import RobotsShelf
from pipeline.run_control import RunControls
from pipeline.source_files import LoadedSource, read_secrets
from pipeline.steps.fetch import FetchStep
from pipeline.worker import Drawing, one_by_one, work
from pipeline.workers.thread import Stopped


class FetchStage:
    """A fetch step with its HTTP client and event loop; belongs to one thread."""

    def __init__(
        self,
        place: Place,
        source: LoadedSource,
        queues: Queues,
        log: Any,
        deadline: Callable[[float], float],
    ) -> None:
        """``deadline`` gives the moment to stop for a batch that started at the one given."""
        _keep_memory()
        self._client = AiohttpClient(
            read_secrets(source.source, place.read_secret),
            private_hosts=source.source.spec.private_hosts,
        )
        self._runner: asyncio.Runner = new_runner()
        retriever = Retriever(
            source.source, source.extractor, self._client, place.pacer, place.user_agent, place.clock, log=log
        )
        if source.source.obeys_robots:
            shelf = RobotsShelf(place.storage, place.clock)
            retriever = msgspec.structs.replace(retriever, robots=shelf)
        self.step = FetchStep(
            place.storage,
            queues,
            retriever,
            self._runner,
            place.metrics,
            log,
            deadline,
            lane=place.lane,
            controls=RunControls(place.storage, place.clock),
            backlog=place.backlog,
        )

    def rest(self) -> None:
        """Give back the connections; the next batch opens its own."""
        self._runner.run(self._client.close())

    def close(self) -> None:
        """Give back everything."""
        self.rest()
        self._runner.close()


def _keep_memory() -> None:
    """Let the memory of a parsed page serve the next one.

    The allocator of most Linux systems gives it back after each page and asks for it anew, which is a quarter
    of a page's time. It learns from the size of what was freed once.
    """
    freed = bytearray(16_000_000)
    del freed


def fetch_worker(place: Place, source: LoadedSource, log: Any, stopped: Stopped) -> None:
    """Fetch batches of one source until stopped; what is on its way then is staged first."""
    queues = place.open_queues()
    log = log.bind(stage="fetch", source=source.source.name)
    stage = FetchStage(
        place, source, queues, log, lambda started: 0.0 if stopped() else started + place.longest
    )
    try:
        # What somebody closed and died before telling it.
        stage.step.tell(source.source.name, look=True)
        work(
            queues.fetch(source.source.name),
            one_by_one(stage.step),
            stopped=stopped,
            log=log,
            drawing=Drawing(patience=place.patience),
        )
    finally:
        stage.close()
        queues.close()
