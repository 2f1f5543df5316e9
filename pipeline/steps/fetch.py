"""The fetch step: one batch retrieved, staged once, its pointer and its remainder sent on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import msgspec
from structlog.contextvars import bound_contextvars

from pipeline import keys
from pipeline.backlog import hold
from pipeline.closings import tell
from pipeline.errors import Permanent, PipelineError, Unreadable
from pipeline.metrics import Metrics
from pipeline.queues.names import Queues
from pipeline.queues.protocol import MAX_DELAY
from pipeline.retrieve import Retrieved, Retriever, retrieve
from pipeline.run_control import RunControls, Said
from pipeline.storage.protocol import Storage
from stages.records import Batch, Malformed, Page, Pointer, Task
from stages.staged import encode_staged, read_header

HOP_LIMIT = 20_000
"""Times that a body may be sent again to wait: hours of the shortest waits.

Waits that are as long as a queue has them are not counted, nor is a pause: a quota of one request a day, or
an operator, may take years, and nothing runs hot by it.
"""

PAUSED_WAIT = 300.0
"""Seconds after which a batch of a paused run is looked at again."""

SHORTEST_WAIT = 1.0
"""Seconds that a body waits at least before it is looked at again."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Batch)


class FetchStep:
    """Fetches one batch a message. Calls of one object come one after another, on one event loop."""

    def __init__(  # noqa: PLR0913  # each is a part of its own that tests replace
        self,
        storage: Storage,
        queues: Queues,
        retriever: Retriever,
        runner: asyncio.Runner,
        metrics: Metrics,
        log: Any,
        deadline: Callable[[float], float],
        *,
        lane: str = "",
        controls: RunControls | None = None,
        backlog: bool = False,
    ) -> None:
        """``deadline`` gives the moment to stop for a batch that started at the one given.

        ``lane`` is which of a source's functions this is; ``controls`` what the operator said of runs;
        ``backlog`` whether somebody releases what waits in the storage.
        """
        self._backlog = backlog
        self._lane = lane
        self._controls = controls
        self._unstored: dict[str, bytes] = {}
        """What was asked and could not be written: the same message again writes it, and asks nothing."""
        self._storage = storage
        self._queues = queues
        self._retriever = retriever
        self._runner = runner
        self._metrics = metrics
        self._log = log
        self._deadline = deadline

    def __call__(self, body: bytes) -> None:
        """Fetch the batch that the message holds, unless it was staged already.

        Raises ``Permanent`` for a body that is no batch, ``Unreadable`` for a damaged staged object.
        """
        batch = decode_batch(body)
        with bound_contextvars(run_id=batch.run_id, batch_id=str(batch.id), source=batch.source):
            self._fetch(batch)

    def _fetch(self, batch: Batch) -> None:
        key = keys.staged(batch)
        staged = self._storage.find(key)
        if staged is None and key not in self._unstored:
            said = self._said(batch)
            early = batch.not_before - self._retriever.clock()
            if said == "paused":
                self._pause(batch)
                return
            if early > 0 and not said:
                self._wait(batch, early)
                return
            retrieved = cancelled(batch, self._retriever.clock()) if said == "cancelled" else self._ask(batch)
            if retrieved.refusals:
                self._metrics.add("refusals", retrieved.refusals)
            if retrieved.left == batch.tasks:
                # Nothing was asked, or nothing came of it that counts: the same body waits.
                self._wait(batch, retrieved.delay)
                return
            self._count(retrieved)
            self._unstored = {key: _encode(batch, retrieved, self._lane)}
        if staged is None:
            staged = self._stage(key)
            self._log.info("batch staged", pages=self._forward(key, staged))
        else:
            self._metrics.add("pages_found", self._forward(key, staged))

    def _ask(self, batch: Batch) -> Retrieved:
        started = self._retriever.clock()
        pacer = self._retriever.pacer.asking_for(batch.run_id, self._lane)
        retriever = msgspec.structs.replace(
            self._retriever, pacer=pacer, stopped=lambda: bool(self._said(batch))
        )
        try:
            return self._runner.run(
                retrieve(batch, retriever, lambda: self._deadline(started)), context=copy_context()
            )
        finally:
            self.tell(batch.source)

    def _said(self, batch: Batch) -> Said:
        """What the operator says of the batch's run."""
        return self._controls.said(batch.run_id) if self._controls is not None else ""

    def tell(self, source: str, *, look: bool = False) -> None:
        """Tell what happened to the source as a whole, if anything did; ``look`` for what others left untold.

        What cannot be told now is told by whoever meets it next, so that no batch waits for it.
        """
        pacer = self._retriever.pacer
        try:
            events = pacer.state(source).untold if look else pacer.untold(source)
            tell(source, events, pacer, self._storage, self._queues.results, self._log)
        except PipelineError as error:
            self._log.warning("a closing is told later", source=source, error=str(error))

    def _stage(self, key: str) -> bytes:
        """Write the staged object; where another delivery was first, give its object instead."""
        ours = self._unstored[key]
        won = self._storage.put_new(key, ours)
        staged = ours if won else self._storage.get(key)
        self._unstored.clear()
        return staged

    def _count(self, retrieved: Retrieved) -> None:
        """What became of the batch; zeros too, so that an alarm sees a source that works."""
        for counted in ("pages_ok", "pages_failed", "pages_unreadable"):
            self._metrics.add(counted, 0)
        for page in retrieved.pages:
            self._metrics.add(f"pages_{page.status}")
            if page.reason == "unreadable":
                self._metrics.add("pages_unreadable")
            if page.latency_ms:
                self._metrics.observe("latency_ms", page.latency_ms)

    def _forward(self, key: str, staged: bytes) -> int:
        """Send the pointer and the remainder, from the object alone, which every delivery sees alike.

        Gives the number of pages in the object.
        """
        try:
            header = read_header(staged)
        except Malformed as error:
            raise Unreadable(f"staged object {key}: {error}", key=key) from error
        if header.remainder is not None:
            self._queues.fetch(header.batch.source).send(
                [_encoder.encode(header.remainder)], delay=header.delay, group=header.batch.run_id
            )
        if header.pages:
            self._queues.results.send([_encoder.encode(Pointer(key, header.pages))])
        return header.pages

    def _pause(self, batch: Batch) -> None:
        """Keep a batch out of the way of others, and look at it again in a while where it has no backlog."""
        if not (self._backlog and hold(self._storage, batch)):
            self._send_again(batch, PAUSED_WAIT)

    def _wait(self, batch: Batch, delay: float) -> None:
        if delay >= MAX_DELAY:
            self._send_again(batch, MAX_DELAY)
            return
        if batch.hop >= HOP_LIMIT:
            raise Permanent(
                f"batch {batch.id} waited {batch.hop} times for source {batch.source}: is it still there?"
            )
        self._send_again(msgspec.structs.replace(batch, hop=batch.hop + 1), max(delay, SHORTEST_WAIT))

    def _send_again(self, batch: Batch, delay: float) -> None:
        self._queues.fetch(batch.source).send([_encoder.encode(batch)], delay=delay, group=batch.run_id)


def _encode(batch: Batch, retrieved: Retrieved, lane: str) -> bytes:
    left = remainder(batch, retrieved.left)
    return encode_staged(
        batch, retrieved.pages, lane=lane, remainder=left, delay=min(retrieved.delay, MAX_DELAY)
    )


def cancelled(batch: Batch, now: float) -> Retrieved:
    """What becomes of a batch that is not to be asked any more: each task ends as refused."""
    return Retrieved([unasked_page(task, "refused", "cancelled", now) for task in batch.tasks], ())


def unasked_page(task: Task, status: str, reason: str, now: float) -> Page:
    """The page of a task that ends without a request of its own."""
    return Page(
        task=task,
        attempts=task.attempts + task.refusals,
        status=status,
        reason=reason,
        http_status=0,
        requested_at=now,
        fetched_at=now,
        latency_ms=0,
        bytes=0,
        url="",
        total_results=None,
    )


def decode_batch(body: bytes) -> Batch:
    """The batch that a message of a fetch queue holds. Raises ``Permanent``."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Permanent(f"a message of a fetch queue holds no batch: {error}") from error


def remainder(batch: Batch, left: tuple[Task, ...]) -> Batch | None:
    """The next cut of a batch: the tasks it left undone, or None."""
    if not left:
        return None
    return msgspec.structs.replace(batch, tasks=left, cut=batch.cut + 1, hop=0)
