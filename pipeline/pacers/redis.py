"""Pace states in Redis: one rate for the fetch workers of several machines.

A change is stored only if the state is still the one it was made from; otherwise it is made again
from the newer one. The script is one step for Redis, so no lock is held while anybody thinks.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import redis

from pipeline.errors import StorageUnavailable
from stages.pace import PaceState

_Answer = TypeVar("_Answer")
_decoder = msgspec.json.Decoder(PaceState)

TRIES = 200
"""Lost races before a change is given up: with a hundred holders a few are usual."""

_STORE_IF_UNCHANGED = """
local before = redis.call('GET', KEYS[1])
if (before or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class RedisPaceStore:
    """States in keys ``<name>-pace-<source>``, which never expire; safe for threads and processes."""

    def __init__(self, url: str, name: str) -> None:
        self._client: Any = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=10)
        self._store = self._client.register_script(_STORE_IF_UNCHANGED)
        self._name = name

    def read(self, source: str) -> PaceState:
        """The state now."""
        with _translated():
            return _decode(self._client.get(self._key(source)), self._key(source))

    def change(self, source: str, how: Callable[[PaceState], tuple[PaceState, _Answer]]) -> _Answer:
        """Replace the state by what ``how`` makes of it; ``how`` is called again after a lost race."""
        key = self._key(source)
        for _ in range(TRIES):
            with _translated():
                stored: bytes | None = self._client.get(key)
            before = _decode(stored, key)
            after, answer = how(before)
            if after == before:
                return answer
            with _translated():
                old = stored if stored is not None else b""
                if self._store(keys=[key], args=[old, msgspec.json.encode(after)]):
                    return answer
            time.sleep(random.uniform(0, 0.01))  # noqa: S311  # spreads the losers, guards nothing
        raise StorageUnavailable(f"{TRIES} changes of {key} in a row lost to others; try again")

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()

    def _key(self, source: str) -> str:
        return f"{self._name}-pace-{source}"


def _decode(stored: bytes | None, key: str) -> PaceState:
    if stored is None:
        return PaceState()
    try:
        return _decoder.decode(stored)
    except msgspec.DecodeError as error:
        raise StorageUnavailable(f"the pace state in {key} cannot be read: {error}") from error


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise StorageUnavailable(f"Redis did not answer the pacer: {error}") from error
