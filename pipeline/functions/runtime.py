"""What every function shares: its opening, its log, its metrics, and what it tells Lambda of each message."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec
from structlog.contextvars import bound_contextvars

from pipeline.bootstrap import MAX_RECEIVES, Place
from pipeline.bootstrap_aws import AwsClients, aws_clients, open_aws_place
from pipeline.emf import EmfMetrics
from pipeline.errors import Misuse, Unavailable
from pipeline.logs import configure_logs, get_log
from pipeline.queues.mapped import MappedQueue, deliveries, queue_of
from pipeline.queues.sqs import SqsBroker
from pipeline.settings import Settings, read_settings
from pipeline.worker import BatchHandler, Drawing, patient, settle

MARGIN = 15.0
"""Seconds before its end at which a function stops asking: enough to stage and to send what is left."""

LAST_TRY = 45.0
"""Seconds before that, in which nothing is tried again: the longest pause, and the try that follows it."""

Handler = Callable[[Any, Any], Any]


class Context(Protocol):
    """What Lambda says of an invocation."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends it."""


class Opened(msgspec.Struct, frozen=True):
    """A function's world, made at its first event."""

    settings: Settings
    clients: AwsClients
    place: Place
    metrics: EmfMetrics
    log: Any


class Remaining:
    """The moment at which the invocation under way should stop, in epoch seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._until = 0.0

    def begin(self, context: Context) -> None:
        """A new invocation."""
        self._until = self._clock() + context.get_remaining_time_in_millis() / 1000 - MARGIN

    def until(self) -> float:
        """The moment."""
        return self._until


def open_function(stage: str, *, of_a_source: bool = False, with_sources: bool = True) -> Opened:
    """Everything that a function stands on.

    ``of_a_source``: it works for ``SERPLINE_SOURCE`` alone. ``with_sources``: it needs what source files say,
    which not every role may read.
    """
    configure_logs(None)
    settings = read_settings()
    source = settings.source if of_a_source else ""
    metrics = EmfMetrics(f"Serpline/{settings.name}", stage, source, _print, time.time)
    clients = aws_clients(settings)
    place = open_aws_place(
        settings, lake=settings.lake, clients=clients, metrics=metrics, with_sources=with_sources, only=source
    )
    log = get_log(stage=stage, **({"source": source, "lane": settings.lane} if source else {}))
    return Opened(settings, clients, place, metrics, log)


def queue_function(open_stage: Callable[[Remaining], tuple[Opened, BatchHandler]]) -> Handler:
    """A handler for an event source mapping with partial responses.

    One message never fails another: each is acknowledged, buried with its reason or reported by itself.
    """
    stage = _Once(open_stage)
    remaining = Remaining()

    def handler(event: Any, context: Context) -> dict[str, list[dict[str, str]]]:
        remaining.begin(context)
        opened, handle = stage.get(remaining)
        with bound_contextvars(request_id=context.aws_request_id):
            try:
                return _settled(event, opened, _outlasting(handle, opened, remaining))
            finally:
                opened.metrics.flush()

    return handler


def _settled(event: Any, opened: Opened, handle: BatchHandler) -> dict[str, list[dict[str, str]]]:
    try:
        received = deliveries(event)
        name = queue_of(event)
    except Misuse as error:
        # Not a queue's event: nothing can be acknowledged or lost here, so it is answered.
        opened.log.warning("event ignored", error=str(error))
        return {"batchItemFailures": []}
    now = opened.place.clock()
    for one in received:
        if one.sent_at:
            opened.metrics.observe("lag_s", max(0.0, now - one.sent_at))
    broker = SqsBroker(opened.clients.sqs, max_receives=MAX_RECEIVES)
    queue = MappedQueue(broker.queue(name), received)
    # What does not answer is reported message by message, and in the log by whoever met it.
    with suppress(Unavailable):
        settle(queue, received, _logged(handle, opened.log), opened.log)
    for problem in queue.problems:
        opened.log.error("a message could not be settled", error=problem)
    opened.metrics.add("messages_failed", len(queue.failed))
    return {"batchItemFailures": [{"itemIdentifier": failed} for failed in queue.failed]}


def _outlasting(handle: BatchHandler, opened: Opened, remaining: Remaining) -> BatchHandler:
    """A handler that waits, while the invocation lasts, for what does not answer.

    Given back at once, the messages of a few bad seconds would have spent their deliveries and be dead.
    """

    def handle_patiently(bodies: Sequence[bytes]) -> Mapping[int, Exception]:
        left = remaining.until() - opened.place.clock() - LAST_TRY
        if left <= 0:
            # Without patience an outage of one would be raised, and be its neighbours' too.
            return handle(bodies)
        drawing = Drawing(away=1.0, patience=left)
        return patient(handle, drawing, lambda: opened.place.clock() > remaining.until(), opened.log)(bodies)

    return handle_patiently


def _logged(handle: BatchHandler, log: Any) -> BatchHandler:
    def logged(bodies: Sequence[bytes]) -> Mapping[int, Exception]:
        try:
            return handle(bodies)
        except Unavailable as error:
            log.warning("nothing could be done", error=str(error), messages=len(bodies))
            raise

    return logged


def action_function(
    open_stage: Callable[[], tuple[Opened, Mapping[str, Callable[[Mapping[str, Any], Remaining], Any]]]],
) -> Handler:
    """A handler for direct and scheduled events that name an ``action``; gives what the action gives.

    Raises ``Misuse`` for an event that names none.
    """
    stage = _Once(open_stage)
    remaining = Remaining()

    def handler(event: Any, context: Context) -> Any:
        remaining.begin(context)
        opened, actions = stage.get()
        name = event.get("action") if isinstance(event, dict) else None
        if name not in actions:
            raise Misuse(f"this function takes an event with action {' or '.join(sorted(actions))}")
        with bound_contextvars(request_id=context.aws_request_id, action=name):
            try:
                answer = actions[name](event, remaining)
                opened.log.info("done", answer=answer)
                return answer
            finally:
                opened.metrics.flush()

    return handler


class _Once:
    """Opened at first use; an opening that failed is tried again at the next event."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make
        self._made: Any = None

    def get(self, *arguments: Any) -> Any:
        if self._made is None:
            self._made = self._make(*arguments)
        return self._made


def _print(line: str) -> None:
    # Lambda makes a log event of every line on standard output.
    print(line, flush=True)  # noqa: T201
