"""Connections that take their time: what is late is a missed slot, and slow ones starve nobody."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from contextlib import suppress
from pathlib import Path

import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.http_client import AiohttpClient, Slot
from pipeline.pacers.memory import MemoryPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.practice.server import PracticeEngine
from pipeline.retrieve import Retrieved, Retriever, retrieve
from pipeline.robots import RobotsShelf
from pipeline.source_files import load_sources
from pipeline.storage.folder import FolderStorage
from stages.extract import compile_rules
from stages.records import Request, Response
from stages.source import Limits, Source
from tests.pipeline.kit import API, LOG, make_batch, windows_hold

TAKES = 1.2
"""Seconds that the name server takes, which is far beyond a slot's grace."""

UNHURRIED = 0.3
"""Seconds that a busy machine may add between a request's last look at the clock and its arrival."""


class SlowNames(AbstractResolver):
    """A name server that says ``127.0.0.1`` of every name, and takes its time."""

    def __init__(self, takes: float = TAKES) -> None:
        self.takes = takes
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        self.asked += 1
        await asyncio.sleep(self.takes)
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def slowly_reached(engine: PracticeEngine, **politeness: float) -> Source:
    """The practice interface under a name that has to be looked up."""
    port = engine.base_url.rpartition(":")[2]
    source = load_sources(None, {API: f"http://engine.example:{port}"})[API].source
    terms = msgspec.structs.replace(source.spec.politeness, **politeness)
    spec = msgspec.structs.replace(source.spec, politeness=terms, private_hosts=True)
    return msgspec.structs.replace(source, spec=spec)


def ask(
    source: Source,
    keywords: list[str],
    names: AbstractResolver,
    pacer: Pacer,
    robots: RobotsShelf | None = None,
) -> Retrieved:
    async def asked() -> Retrieved:
        client = AiohttpClient(private_hosts=True, resolver=names)
        rules = compile_rules(source.spec.answer)
        retriever = Retriever(source, rules, client, pacer, "serpline/test", robots=robots, log=LOG)
        try:
            return await retrieve(make_batch(keywords), retriever, lambda: math.inf)
        finally:
            await client.close()

    return asyncio.run(asked())


def pacer() -> Pacer:
    return Pacer(MemoryPaceStore(), time.time)


def words(count: int) -> list[str]:
    return [f"k{n}" for n in range(count)]


def test_requests_keep_the_rate_though_their_connections_come_all_at_once(engine: PracticeEngine):
    """Twenty connections wait for the same name server: what is late then is not sent, and spends nothing."""
    source = slowly_reached(engine, rate=4, burst=1, concurrency=20)
    retrieved = ask(source, words(12), SlowNames(), pacer())
    assert [page.status for page in retrieved.pages] == ["ok"] * 12
    assert {page.attempts for page in retrieved.pages} == {1}
    moments = [arrival.monotonic for arrival in engine.arrivals]
    assert len(moments) == 12
    assert windows_hold(moments, 4, 1, UNHURRIED) == ""


def test_a_slot_that_a_connection_missed_is_no_request_of_the_quota(engine: PracticeEngine):
    """The day's quota counts what was sent; the first slots passed unused."""
    shared = pacer()
    source = slowly_reached(engine, rate=4, burst=1, concurrency=2, quota=1_000)
    ask(source, words(3), SlowNames(), shared)
    assert shared.state(API).quota_used == len(engine.arrivals) == 3
    assert shared.state(API).leases >= 2


def test_a_late_robots_txt_is_a_missed_slot_too(engine: PracticeEngine, tmp_path: Path):
    """Its connection serves the next slot; nothing is closed for it."""
    shared = pacer()
    shelf = RobotsShelf(FolderStorage(tmp_path), time.time)
    source = slowly_reached(engine, rate=4, burst=1, concurrency=2)
    retrieved = ask(source, words(3), SlowNames(), shared, shelf)
    assert len(retrieved.pages) == 3
    assert shared.state(API).closed_since == 0
    moments = [arrival.monotonic for arrival in engine.arrivals]
    assert windows_hold(moments, 4, 1, UNHURRIED) == ""


def test_who_always_needs_a_new_connection_makes_it_before_its_slot(engine: PracticeEngine):
    """An engine that keeps none open is asked at nearly its rate, not a slot late for ever."""

    class Closing(AiohttpClient):
        """As if the engine closed every connection at once, used or not."""

        async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
            response = await super().send(request, limits, slot)
            await self.close()
            return response

    async def asked() -> Retrieved:
        source = slowly_reached(engine, rate=1, burst=1, concurrency=1)
        client = Closing(private_hosts=True, resolver=SlowNames(0.5))
        rules = compile_rules(source.spec.answer)
        retriever = Retriever(source, rules, client, pacer(), "serpline/test", log=LOG)
        return await retrieve(make_batch(words(5)), retriever, lambda: time.time() + 12)

    retrieved = asyncio.run(asked())
    assert len(retrieved.pages) == 5
    moments = [arrival.monotonic for arrival in engine.arrivals]
    assert windows_hold(moments, 1, 1, UNHURRIED) == ""


def test_a_trial_that_comes_too_late_is_the_next_one_s(engine: PracticeEngine):
    """It was not sent, so it decides nothing: the source stays closed until a trial was answered."""
    shared = pacer()
    source = slowly_reached(engine, rate=2, burst=1, concurrency=2)
    shared.refuse(API, source.spec.politeness, time.time() + 1, "http_429")
    time.sleep(1.1)
    retrieved = ask(source, words(3), SlowNames(), shared)
    assert [page.status for page in retrieved.pages] == ["ok"] * 3
    assert shared.state(API).closed_since == 0


def test_a_request_whose_slot_has_passed_does_not_leave():
    """The client says so, and keeps the connection for the next one."""
    heads: list[list[bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(asked := [])
        with suppress(asyncio.IncompleteReadError):
            while True:
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        writer.close()

    async def sent() -> list[Response]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = AiohttpClient()
        request = Request("GET", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {})
        try:
            return [await client.send(request, Limits(), _saying(said=said)) for said in (False, True)]
        finally:
            await client.close()
            server.close()

    late, good = asyncio.run(sent())
    assert (late.status, late.failure) == (0, "late")
    assert (good.status, good.failure) == (200, "")
    assert [len(asked) for asked in heads] == [1]


def _saying(*, said: bool) -> Slot:
    async def slot() -> bool:
        return said

    return slot


def test_time_is_limited_from_when_the_request_leaves(engine: PracticeEngine):
    """Waiting for its slot is no time that the engine took, and costs the answer none of its own."""

    async def sent() -> Response:
        client = AiohttpClient()
        try:
            url = f"{engine.base_url}/search?q=json"
            return await client.send(Request("GET", url, {}), Limits(timeout=1.0), _after(1.5))
        finally:
            await client.close()

    response = asyncio.run(sent())
    assert (response.status, response.failure) == (200, "")
    assert response.latency_ms < 1_000


def _after(seconds: float) -> Slot:
    async def slot() -> bool:
        await asyncio.sleep(seconds)
        return True

    return slot
