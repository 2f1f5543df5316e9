"""Workers: draw messages from a queue, hand them to a step, and settle each by what became of it.

Success is acknowledged. ``Permanent`` goes to the dead-letter queue at once. Everything else goes
back to be delivered again, and to the dead-letter queue when its deliveries are spent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from pipeline.errors import Permanent, PipelineError, QueueUnavailable, Retryable, Unavailable
from pipeline.queues.protocol import MAX_DELAY, Queue, Received

BatchHandler = Callable[[Sequence[bytes]], Mapping[int, Exception]]
"""Takes bodies, gives the positions that failed with why; raises where all of them failed."""

POLL = 0.2
"""Seconds that one look at an empty queue takes, and so how soon a worker notices that it should stop."""


class Drawing(msgspec.Struct, frozen=True):
    """How messages are drawn: up to ``most`` are handed over at once, gathered for ``window`` seconds.

    A broker that does not answer is asked again after ``away`` seconds. While storage or catalog do not
    answer, the same messages are tried again in hand for ``patience`` seconds, so that an outage spends
    no deliveries; without patience, the outage is raised.
    """

    most: int = 1
    window: float = 0.0
    away: float = 2.0
    patience: float = 0.0


ONE = Drawing()


def one_by_one(step: Callable[[bytes], None]) -> BatchHandler:
    """A handler that calls a step for each body and lets none fail its neighbours."""

    def handle(bodies: Sequence[bytes]) -> dict[int, Exception]:
        failed: dict[int, Exception] = {}
        for at, body in enumerate(bodies):
            try:
                step(body)
            # A defect in one message must not take the others with it; it is logged and counted.
            except Exception as error:  # noqa: BLE001
                failed[at] = error
        return failed

    return handle


def work(
    queue: Queue,
    handle: BatchHandler,
    *,
    stopped: Callable[[], bool],
    log: Any,
    drawing: Drawing = ONE,
    hurried: Callable[[], bool] = lambda: False,
) -> None:
    """Work on a queue until ``stopped``.

    ``hurried`` says that no more messages are coming, so that nothing is gained by waiting for them.
    """
    while not stopped():
        try:
            received = _gather(queue, drawing, stopped, hurried)
            if received:
                settle(queue, received, patient(handle, drawing, stopped, log), log)
        except QueueUnavailable as error:
            log.warning("queue unavailable", queue=queue.name, error=str(error))
            time.sleep(drawing.away)


def patient(handle: BatchHandler, drawing: Drawing, stopped: Callable[[], bool], log: Any) -> BatchHandler:
    """A handler that waits, with the messages in hand, while what everything needs does not answer.

    Raises ``Unavailable`` where there is no patience (left): nothing is wrong with the messages.
    """

    def outlasting(bodies: Sequence[bytes]) -> dict[int, Exception]:
        until = time.monotonic() + drawing.patience
        pending = dict(enumerate(bodies))
        failed: dict[int, Exception] = {}
        pause = drawing.away
        while True:
            places = list(pending)
            try:
                told = handle([pending[place] for place in places])
            except Unavailable as error:
                told = dict.fromkeys(range(len(places)), error)
            away = {at: error for at, error in told.items() if isinstance(error, Unavailable)}
            failed |= {places[at]: error for at, error in told.items() if at not in away}
            if not away:
                return failed
            outage = next(iter(away.values()))
            if not drawing.patience:
                raise outage
            if stopped() or time.monotonic() > until:
                return failed | {places[at]: error for at, error in away.items()}
            log.warning("waiting for what does not answer", error=str(outage), messages=len(away))
            time.sleep(pause)
            pause = min(pause * 2, 30.0)
            pending = {places[at]: pending[places[at]] for at in away}

    return outlasting


def settle(queue: Queue, received: Sequence[Received], handle: BatchHandler, log: Any) -> None:
    """Hand deliveries over and acknowledge, bury or release each by what became of it."""
    try:
        failed = handle([one.body for one in received])
    except Unavailable as outage:
        for one in received:
            queue.release(one, delay=_backoff(outage, one.receives))
        raise
    # Whatever it was, none of these messages is done.
    except Exception as problem:  # noqa: BLE001
        failed = dict.fromkeys(range(len(received)), problem)
    for at, one in enumerate(received):
        error = failed.get(at)
        if error is None:
            queue.ack(one)
            continue
        expected = isinstance(error, PipelineError)
        log.error(
            "message failed",
            queue=queue.name,
            receives=one.receives,
            message=one.body[:200].decode("utf-8", "replace"),
            error=str(error),
            kind=type(error).__name__,
            exc_info=None if expected else error,
        )
        if isinstance(error, Permanent):
            queue.bury(one, reason=str(error))
        else:
            queue.release(one, delay=_backoff(error, one.receives))


def _backoff(error: Exception, receives: int) -> float:
    if isinstance(error, Retryable) and error.after is not None:
        return min(error.after, MAX_DELAY)
    return min(0.5 * 2.0 ** min(receives, 10), 60.0)


def _gather(
    queue: Queue, drawing: Drawing, stopped: Callable[[], bool], hurried: Callable[[], bool]
) -> list[Received]:
    most = drawing.most
    received = queue.receive(most, wait=POLL)
    if not received:
        return received
    until = time.monotonic() + drawing.window
    while len(received) < most and not stopped() and not hurried() and time.monotonic() < until:
        received.extend(queue.receive(most - len(received), wait=POLL))
    return received
