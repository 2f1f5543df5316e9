"""kombu's own ``memory://`` behind a kombu queue: there to hold kombu.py to the contract without a server.

For real work in one process take ``pipeline.queues.memory``: this one polls, because kombu does.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar

import kombu

from pipeline.queues.kombu_wire import Drawn, Parcel, parcel_from

POLL = 0.01

# kombu's memory queues belong to the process, and so does what is not due yet.
_later: defaultdict[str, list[tuple[float, int, Parcel]]] = defaultdict(list)
_numbers = itertools.count()
_lock = threading.Lock()


class MemoryWire:
    """See ``pipeline.queues.kombu_wire.Wire``."""

    errors: ClassVar[tuple[type[Exception], ...]] = (OSError,)
    tags_last: ClassVar[bool] = False

    def __init__(self, url: str, _visibility: float) -> None:
        self._transport = kombu.Connection(url).transport
        self._connection = self._transport.establish_connection()
        self._channel = self._transport.create_channel(self._connection)

    def put(self, queue: str, parcels: Sequence[Parcel], delay: float = 0.0) -> None:
        """Store the parcels."""
        if delay > 0:
            due = time.monotonic() + delay
            with _lock:
                for parcel in parcels:
                    heapq.heappush(_later[queue], (due, next(_numbers), parcel))
            return
        for parcel in parcels:
            message = self._channel.prepare_message(parcel.body, headers=parcel.headers)
            self._channel.basic_publish(message, exchange="", routing_key=queue)

    def draw(self, queue: str, most: int, wait: float) -> list[Drawn]:
        """Up to ``most`` parcels; looks again every ``POLL`` seconds while there are none."""
        deadline = time.monotonic() + wait
        while True:
            self._put_due(queue)
            messages = list(itertools.islice(iter(lambda: self._channel.basic_get(queue), None), most))
            if messages or time.monotonic() >= deadline:
                return [
                    Drawn(parcel_from(one.body or b"", one.headers), one.delivery_tag, redelivered=False)
                    for one in messages
                ]
            time.sleep(POLL)

    def holds(self, _tag: Any) -> bool:
        """Always: kombu takes back nothing while the connection lasts."""
        return True

    def drop(self, tags: Sequence[Any]) -> None:
        """Forget these drawn parcels."""
        for tag in tags:
            self._channel.basic_ack(tag)

    def size(self, queue: str) -> int:
        """How many parcels wait."""
        with _lock:
            return int(self._channel.queue_declare(queue).message_count) + len(_later[queue])

    def close(self) -> None:
        """End the connection."""
        self._transport.close_connection(self._connection)

    def _put_due(self, queue: str) -> None:
        with _lock:
            waiting = _later[queue]
            due = []
            while waiting and waiting[0][0] <= time.monotonic():
                due.append(heapq.heappop(waiting)[2])
        self.put(queue, due)
