"""Redis behind a kombu queue: kombu's connection, message format and restoring, our own way of taking.

kombu takes a message with ``BRPOP`` and notes it as unacknowledged afterwards; a process killed in between,
or while a pop that timed out here is still open at the server, takes the message with it. Here one
script moves messages from the list to kombu's unacknowledged set, so they are always in one of them.
Waiting is a ``BLMOVE`` of the last item onto its own place: it blocks like a pop and takes nothing.
What is not due yet lies in a sorted set beside the list, by Redis's own clock.

Needs Redis 6.2 or newer. Without ``appendonly yes`` a restart of Redis forgets messages.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import kombu
import orjson
from kombu.transport import redis as kombu_redis
from redis.exceptions import RedisError

from pipeline.queues.kombu_wire import Drawn, Parcel, parcel_from

ANSWERS_WITHIN = 30.0
SLICE = 0.25
"""Seconds of one blocking wait; messages that others sent with a delay are noticed in between."""
CHUNK = 500

LATER = """
local time = redis.call('TIME')
local due = time[1] + time[2] / 1000000 + ARGV[1]
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], due, ARGV[i]) end
"""

TAKE = """
local queue, later, unacked, index, unreadable = unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
for _, item in ipairs(redis.call('ZRANGEBYSCORE', later, '-inf', now, 'LIMIT', 0, ARGV[1])) do
  redis.call('LPUSH', queue, item)
  redis.call('ZREM', later, item)
end
local taken = {}
for _, item in ipairs(redis.call('RPOP', queue, ARGV[1]) or {}) do
  local sound, message = pcall(cjson.decode, item)
  sound, message = pcall(function() return message.properties.delivery_tag end)
  if sound and type(message) == 'string' then
    redis.call('HSET', unacked, message, '[' .. item .. ', "", ' .. cjson.encode(queue) .. ']')
    redis.call('ZADD', index, now, message)
    taken[#taken + 1] = item
  else
    redis.call('LPUSH', unreadable, item)
  end
end
local first = redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')
return {first[2] and tostring(first[2] - now) or '', taken}
"""


class RedisWire:
    """See ``pipeline.queues.kombu_wire.Wire``. A parcel held for longer than ``visibility`` is given away.

    An item in the list that kombu did not write is set aside in ``<queue>.unreadable``.
    """

    errors: ClassVar[tuple[type[Exception], ...]] = (RedisError, OSError)
    tags_last: ClassVar[bool] = True

    def __init__(self, url: str, visibility: float) -> None:
        options = {
            "visibility_timeout": visibility,
            # Keys of our own: another kombu application on this database restores by its own timeout.
            "unacked_key": "serpline.unacked",
            "unacked_index_key": "serpline.unacked_index",
            "unacked_mutex_key": "serpline.unacked_mutex",
            "priority_steps": [0],
            "socket_timeout": ANSWERS_WITHIN,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
        }
        # kombu knows rediss by its own transport only: with ours it would speak, and log in, in the clear.
        tls = {"ssl_cert_reqs": "required"} if url.startswith("rediss:") else False
        client = kombu.Connection(url, transport=_Transport, ssl=tls, transport_options=options)
        self._transport = _Transport(client)
        self._connection = self._transport.establish_connection()
        self._channel: _Channel = self._transport.create_channel(self._connection)

    def put(self, queue: str, parcels: Sequence[Parcel], delay: float = 0.0) -> None:
        """Store the parcels."""
        for start in range(0, len(parcels), CHUNK):
            self._channel.store(queue, parcels[start : start + CHUNK], delay)

    def draw(self, queue: str, most: int, wait: float) -> list[Drawn]:
        """Up to ``most`` parcels, in one round trip."""
        deadline = time.monotonic() + wait
        while True:
            self._channel.restore_overdue()
            next_due, items = self._channel.take(queue, most)
            left = deadline - time.monotonic()
            if items or left <= 0:
                return [_drawn(orjson.loads(item)) for item in items]
            self._channel.await_item(queue, max(0.001, min(left, next_due, SLICE)))

    def holds(self, tag: str) -> bool:
        """Whether it is still in the unacknowledged set."""
        return self._channel.is_unacknowledged(tag)

    def drop(self, tags: Sequence[str]) -> None:
        """Take these out of the unacknowledged set."""
        self._channel.forget(tags)

    def size(self, queue: str) -> int:
        """How many wait, now and later."""
        return self._channel.waiting(queue)

    def close(self) -> None:
        """End the connection; what is unacknowledged returns after the visibility timeout."""
        self._transport.close_connection(self._connection)


class _Channel(kombu_redis.Channel):  # type: ignore[misc] # kombu has no types
    """kombu's channel with other ways of putting and taking; restoring the unacknowledged stays kombu's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._redis = self._create_client()
        self._later_script = self._redis.register_script(LATER)
        self._take_script = self._redis.register_script(TAKE)
        self._restored_at = float("-inf")

    def store(self, queue: str, parcels: Sequence[Parcel], delay: float) -> None:
        items = [self._item(queue, parcel) for parcel in parcels]
        if delay > 0:
            self._later_script(keys=[_later(queue)], args=[delay, *items])
        else:
            self._redis.lpush(queue, *items)

    def take(self, queue: str, most: int) -> tuple[float, list[bytes]]:
        keys = [queue, _later(queue), self.unacked_key, self.unacked_index_key, f"{queue}.unreadable"]
        next_due, items = self._take_script(keys=keys, args=[most])
        return (float(next_due) if next_due else float("inf")), items

    def await_item(self, queue: str, seconds: float) -> None:
        self._redis.blmove(queue, queue, seconds, "RIGHT", "RIGHT")

    def is_unacknowledged(self, tag: str) -> bool:
        return bool(self._redis.hexists(self.unacked_key, tag))

    def forget(self, tags: Sequence[str]) -> None:
        with self._redis.pipeline() as both:
            both.zrem(self.unacked_index_key, *tags).hdel(self.unacked_key, *tags).execute()

    def waiting(self, queue: str) -> int:
        return int(self._redis.llen(queue)) + int(self._redis.zcard(_later(queue)))

    def restore_overdue(self) -> None:
        """Now and then put back what consumers have held beyond the visibility timeout."""
        if time.monotonic() - self._restored_at > min(10.0, self.visibility_timeout / 4):
            self._restored_at = time.monotonic()
            self.qos.restore_visible(num=1000, interval=1)

    def _item(self, queue: str, parcel: Parcel) -> bytes:
        message = self.prepare_message(
            parcel.body, content_type="application/octet-stream", headers=parcel.headers
        )
        self._inplace_augment_message(message, "", queue)
        return orjson.dumps(message)

    def encode_body(self, body: bytes, encoding: str | None = None) -> tuple[str, str | None]:
        """Text as it is; base64 only for what is no text, which JSON cannot carry."""
        try:
            return body.decode(), "utf-8"
        except UnicodeDecodeError:
            text, encoding = super().encode_body(body, encoding)
            return text, encoding


class _Transport(kombu_redis.Transport):  # type: ignore[misc] # kombu has no types
    Channel = _Channel


def _drawn(message: dict[str, Any]) -> Drawn:
    properties, headers = message["properties"], message.get("headers") or {}
    body, encoding = message.get("body") or "", properties.get("body_encoding")
    raw = base64.b64decode(body) if encoding == "base64" else body.encode()
    # kombu writes this when it restores a message whose consumer is gone.
    return Drawn(parcel_from(raw, headers), properties["delivery_tag"], bool(headers.get("redelivered")))


def _later(queue: str) -> str:
    return f"{queue}.later"
