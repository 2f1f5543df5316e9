"""The practice engine at work: beside a test in a thread of its own, or in front of a terminal."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from pipeline.errors import Misuse
from pipeline.practice.app import application
from pipeline.practice.desk import Arrival, Behaviour, Desk
from pipeline.practice.faults import Fault
from pipeline.practice.index import Index
from pipeline.practice.quota import Quota

LOOPBACK = "127.0.0.1"

_PATIENCE = 0.2
"""Seconds that answers still under way get at the end; a dripping one would take all day."""


class PracticeEngine:
    """The engine in a background thread, on a free port of the loopback address, for as long as the block."""

    def __init__(
        self,
        index_path: Path,
        faults: Sequence[Fault] = (),
        *,
        quota: Quota | None = None,
        seed: int = 0,
        port: int = 0,
    ) -> None:
        self._index_path = index_path
        self._port = port
        self._desk = Desk(Behaviour(faults=tuple(faults), quota=quota, seed=seed))
        self._ready: Future[tuple[str, Callable[[], object]]] = Future()
        self._thread = threading.Thread(target=self._work, name="practice-engine", daemon=True)
        self._stop: Callable[[], object] | None = None
        self.base_url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self.base_url, self._stop = self._ready.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stop is not None:
            self._stop()
        self._thread.join()

    @property
    def arrivals(self) -> Sequence[Arrival]:
        """Every request so far, in the order in which they came."""
        return self._desk.arrivals

    def set_faults(self, faults: Sequence[Fault], *, quota: Quota | None = None, seed: int = 0) -> None:
        """From the next request on misbehave like this; ``set_faults([])`` ends all of it."""
        robots = self._desk.behaviour.robots
        self._desk.behave(Behaviour(faults=tuple(faults), quota=quota, seed=seed, robots=robots))

    def set_robots(self, text: str) -> None:
        """What robots.txt says from now on."""
        now = self._desk.behaviour
        self._desk.behave(Behaviour(faults=now.faults, quota=now.quota, seed=now.seed, robots=text))

    def reset(self) -> None:
        """Forget all arrivals and how often anything was asked."""
        self._desk.reset()

    def _work(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits in __enter__
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _serve(self) -> None:
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        async with _listening(self._index_path, self._desk, LOOPBACK, self._port) as url:
            self._ready.set_result((url, lambda: loop.call_soon_threadsafe(stopped.set)))
            await stopped.wait()


def serve(
    host: str,
    port: int,
    index_path: Path,
    faults: Sequence[Fault] = (),
    ready: Callable[[str], object] | None = None,
    *,
    quota: Quota | None = None,
    seed: int = 0,
) -> None:
    """Serve until SIGINT or SIGTERM; ``ready`` is called with the address once requests are taken.

    Only on this machine: an address that others can reach is refused with ``Misuse``, and so is a taken port.
    """
    if not _is_loopback(host):
        raise Misuse(
            f"the practice engine serves this machine only: {host} is no loopback address, use {LOOPBACK}"
        )
    desk = Desk(Behaviour(faults=tuple(faults), quota=quota, seed=seed))
    asyncio.run(_serve_until_told(host, port, index_path, desk, ready))


async def _serve_until_told(
    host: str, port: int, index_path: Path, desk: Desk, ready: Callable[[str], object] | None
) -> None:
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with _listening(index_path, desk, host, port) as url:
        if ready is not None:
            ready(url)
        await stopped.wait()


@asynccontextmanager
async def _listening(index_path: Path, desk: Desk, host: str, port: int) -> AsyncIterator[str]:
    """The engine taking requests; gives its address."""
    index = await asyncio.to_thread(Index, index_path)
    runner = web.AppRunner(application(index, desk), access_log=None, shutdown_timeout=_PATIENCE)
    try:
        await runner.setup()
        site = web.TCPSite(runner, host, port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise Misuse(
                f"cannot listen on {host} port {port}, choose another port: {error.strerror}"
            ) from error
        name = f"[{host}]" if ":" in host else host
        yield f"http://{name}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        index.close()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
