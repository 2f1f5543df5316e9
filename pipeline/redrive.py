"""Back from the dead-letter queue to the queue, once what broke the messages is mended."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress

from pipeline.errors import Misuse, Unavailable
from pipeline.queues.protocol import Queue, Received

PORTION = 10
"""Messages moved at once: as many as one call of SQS takes."""
LOOK = 1.0
"""Seconds that the dead-letter queue is looked at before it counts as empty."""
NAP = 0.5
"""The longest sleep without a look at ``stopped``."""


def redrive(
    queue: Queue,
    *,
    rate: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Send a queue's dead messages to it again, at most ``rate`` a second; gives how many.

    Their deliveries count from one again. Ends when the dead-letter queue has nothing that was not sent
    before: a message that fails again meanwhile stays there, instead of going round for ever. Each is stored
    in the queue before it is forgotten in the other: a crash in between makes a duplicate, never a loss.
    """
    if rate is not None and not rate > 0:
        raise Misuse(f"a redrive of {rate} messages a second moves none: give a rate above 0, or none at all")
    dead = queue.dead()
    portion = PORTION if rate is None else max(1, min(PORTION, int(rate)))
    started = clock()
    moved = 0
    sent: set[bytes] = set()
    held: list[Received] = []
    try:
        while not stopped():
            if rate is not None and (early := started + moved / rate - clock()) > 0:
                sleep(min(early, NAP))
                continue
            received = dead.receive(portion, wait=LOOK)
            if not received:
                break
            held += received
            fresh = {_digest(one.body): one for one in received}
            fresh = {digest: one for digest, one in fresh.items() if digest not in sent}
            if fresh:
                queue.send([one.body for one in fresh.values()])
            sent |= fresh.keys()
            for one in fresh.values():
                dead.ack(one)
                held.remove(one)
            moved += len(fresh)
    finally:
        with suppress(Unavailable):
            for one in held:
                dead.release(one)
    return moved


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()
