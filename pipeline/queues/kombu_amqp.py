"""RabbitMQ behind a kombu queue: durable queues, persistent messages, and every one confirmed.

A delayed message lies in a queue beside the real one, with a time to live, and RabbitMQ moves it over when
that has passed. Messages leave such a queue in order, so delays of like length share one and each waits
at most twice as long as it asked.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

import kombu
from kombu.transport import pyamqp

from pipeline.queues.kombu_wire import Drawn, Parcel, parcel_from

ANSWERS_WITHIN = 30.0
UNCONFIRMED = 500
"""Messages on the way before their confirmations are awaited: one round trip then serves them all."""
NOT_FOUND = 404
LADDER = tuple(250 * 2**step for step in range(13))
"""The longest delay in each delay queue, in milliseconds, up to beyond ``MAX_DELAY``."""


class AmqpWire:
    """See ``pipeline.queues.kombu_wire.Wire``. An unacknowledged parcel returns when its channel closes."""

    errors: ClassVar[tuple[type[Exception], ...]] = (
        *pyamqp.Transport.connection_errors,
        *pyamqp.Transport.channel_errors,
    )
    tags_last: ClassVar[bool] = False

    def __init__(self, url: str, _visibility: float) -> None:
        limits = {"read_timeout": ANSWERS_WITHIN, "write_timeout": ANSWERS_WITHIN}
        # Without a name to compare, py-amqp takes any valid certificate for the server's.
        tls = {"server_hostname": None} if url.startswith("amqps:") else False
        client = kombu.Connection(url, connect_timeout=5, ssl=tls, transport_options=limits)
        self._transport = client.transport
        self._connection = self._transport.establish_connection()
        self._channel = self._transport.create_channel(self._connection)
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._confirmed)
        self._channel.events["basic_nack"].add(self._refused)
        self._published = 0
        self._unconfirmed: set[int] = set()
        self._declared: set[str] = set()

    def put(self, queue: str, parcels: Sequence[Parcel], delay: float = 0.0) -> None:
        """Store the parcels; returns when RabbitMQ has confirmed each."""
        properties: dict[str, Any] = {"delivery_mode": 2}
        target = queue
        self._declare(queue)
        if delay > 0:
            milliseconds = int(delay * 1000) + 1
            target = self._declare_later(queue, milliseconds)
            properties["expiration"] = str(milliseconds)
        for start in range(0, len(parcels), UNCONFIRMED):
            for parcel in parcels[start : start + UNCONFIRMED]:
                message = self._channel.prepare_message(
                    parcel.body,
                    content_type="application/octet-stream",
                    headers=parcel.headers,
                    properties=properties,
                )
                # Mandatory, or a message for a queue that somebody has deleted is confirmed and gone.
                self._channel.basic_publish(message, exchange="", routing_key=target, mandatory=True)
                self._published += 1
                self._unconfirmed.add(self._published)
            while self._unconfirmed:
                self._connection.drain_events(timeout=ANSWERS_WITHIN)

    def draw(self, queue: str, most: int, wait: float) -> list[Drawn]:
        """Up to ``most`` parcels: a consumer for as long as this call, so nothing is fetched ahead."""
        self._declare(queue)
        messages: list[Any] = []
        self._channel.basic_qos(0, min(most, 65535), a_global=False)
        consumer = self._channel.basic_consume(queue, callback=messages.append)
        try:
            self._await(messages, wait)
            seen = 0
            while seen < len(messages) < most:
                # RabbitMQ sends in bursts of a few hundred: on, as long as a question to the queue, which
                # is answered after what was sent before it, finds more than the last one did.
                seen = len(messages)
                self._channel.queue_declare(queue, passive=True)
        finally:
            self._channel.basic_cancel(consumer)
        return [_drawn(self._channel.message_to_python(message)) for message in messages]

    def holds(self, _tag: Any) -> bool:
        """Always: RabbitMQ takes back nothing while the connection lasts."""
        return True

    def drop(self, tags: Sequence[Any]) -> None:
        """Acknowledge these."""
        for tag in tags:
            self._channel.basic_ack(tag)

    def size(self, queue: str) -> int:
        """How many wait in the queue and in its delay queues."""
        return sum(map(self._count, [queue, *(_later(queue, rung) for rung in LADDER)]))

    def close(self) -> None:
        """End the connection; RabbitMQ then gives what is unacknowledged to others."""
        self._transport.close_connection(self._connection)

    def _declare(self, queue: str, **arguments: Any) -> None:
        if queue not in self._declared:
            self._channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
            self._declared.add(queue)

    def _declare_later(self, queue: str, milliseconds: int) -> str:
        name = _later(queue, next(rung for rung in LADDER if milliseconds <= rung))
        self._declare(name, **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue})
        return name

    def _await(self, messages: list[Any], wait: float) -> None:
        deadline = time.monotonic() + wait
        while not messages and (left := deadline - time.monotonic()) > 0:
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=left)

    def _count(self, queue: str) -> int:
        # A channel of its own: asking for a queue that is not there closes the channel.
        channel = self._transport.create_channel(self._connection)
        try:
            count = int(channel.queue_declare(queue, passive=True).message_count)
        except self._transport.channel_errors as error:
            if error.code == NOT_FOUND:
                return 0
            raise
        channel.close()
        return count

    def _confirmed(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp calls it so
        if multiple:
            self._unconfirmed = {one for one in self._unconfirmed if one > tag}
        else:
            self._unconfirmed.discard(tag)

    def _refused(self, _tag: int, _multiple: bool) -> None:  # noqa: FBT001 - py-amqp calls it so
        raise ConnectionError("RabbitMQ could not store a message")


def _drawn(message: Any) -> Drawn:
    # py-amqp gives an empty body as text, and one whose sender named an encoding.
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
    redelivered = message.delivery_info["redelivered"]
    return Drawn(parcel_from(body, message.headers or {}), message.delivery_tag, redelivered)


def _later(queue: str, rung: int) -> str:
    return f"{queue}.later-{rung}ms"
