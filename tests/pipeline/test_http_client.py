"""Where the wire begins: limits hold, redirects are not followed, and every failure is an answer."""

from __future__ import annotations

import asyncio
import socket
import time
import tracemalloc

import pytest

from pipeline.http_client import AiohttpClient
from pipeline.practice.faults import Fault
from pipeline.practice.server import PracticeEngine
from stages.records import Request, Response
from stages.source import Limits
from tests.pipeline.hostile_engine import HostileEngine, answer


def send(url: str, times: int = 1, **limits: float) -> Response:
    async def asked() -> Response:
        client = AiohttpClient()
        try:
            for _ in range(times):
                response = await client.send(
                    Request("GET", url, {"User-Agent": "serpline/test (+me)"}), Limits(**limits)
                )
            return response
        finally:
            await client.close()

    return asyncio.run(asked())


def spoiled(engine: PracticeEngine, kind: str, **fields: object) -> str:
    engine.set_faults([Fault(kind=kind, share=1.0, **fields)])
    return f"{engine.base_url}/search?q=json"


def test_a_whole_answer_comes_back_as_it_was_sent(engine: PracticeEngine):
    """Status, lower-case header names, the body's bytes, the URL asked and the time it took."""
    response = send(f"{engine.base_url}/search?q=json")
    assert (response.status, response.failure) == (200, "")
    assert response.headers["content-type"].startswith("text/html")
    assert 60_000 < len(response.body) < 100_000
    assert response.url == f"{engine.base_url}/search?q=json"
    assert engine.arrivals[0].user_agent == "serpline/test (+me)"


def test_the_url_goes_over_the_wire_as_it_was_written(engine: PracticeEngine):
    """What the template escaped stays escaped; nothing is decoded, joined or escaped twice."""
    send(f"{engine.base_url}/search?q=a%2Fb%26c%3Dd%20e%2Be%25")
    assert engine.arrivals[0].keyword == "a/b&c=d e+e%"


def test_redirects_are_answers(engine: PracticeEngine):
    """Whether and where to follow is judged elsewhere."""
    response = send(spoiled(engine, "redirect-away"))
    assert response.status in (301, 302, 303, 307, 308)
    assert "location" in response.headers
    assert len(engine.arrivals) == 1


@pytest.mark.parametrize(
    ("kind", "failure"), [("reset", "connection"), ("truncated", "cut_short"), ("huge", "too_large")]
)
def test_a_failure_below_http_is_named(engine: PracticeEngine, kind: str, failure: str):
    """A driver's exception never leaves the client."""
    assert send(spoiled(engine, kind)).failure == failure


def test_one_send_is_one_request(engine: PracticeEngine):
    """A broken connection is not silently tried again: each request is paid for by a lease of its own."""
    send(f"{engine.base_url}/search?q=json", times=3)
    engine.reset()
    assert send(spoiled(engine, "reset"), times=4).failure == "connection"
    assert len(engine.arrivals) == 4


def test_a_connection_broken_after_use_is_not_retried(engine: PracticeEngine):
    """The same on a connection that served a good answer before."""

    async def asked() -> list[str]:
        client = AiohttpClient()
        url = f"{engine.base_url}/search?q=json"
        try:
            good = await client.send(Request("GET", url, {}), Limits())
            engine.set_faults([Fault(kind="reset", share=1.0)])
            return [good.failure, (await client.send(Request("GET", url, {}), Limits())).failure]
        finally:
            await client.close()

    assert asyncio.run(asked()) == ["", "connection"]
    assert len(engine.arrivals) == 2


def test_time_is_limited_however_slowly_bytes_come(engine: PracticeEngine):
    """A byte a second keeps nobody longer than the source's limit."""
    started = time.monotonic()
    assert send(spoiled(engine, "drip"), timeout=0.6).failure == "timeout"
    assert time.monotonic() - started < 2


def test_a_huge_body_is_not_held(engine: PracticeEngine):
    """200 MB are refused at the limit, in memory of that order."""
    url = spoiled(engine, "huge")
    tracemalloc.start()
    response = send(url, bytes=1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.failure == "too_large"
    assert peak < 20_000_000


def test_a_gzip_bomb_stays_packed(engine: PracticeEngine):
    """The client inflates nothing: the limit on what a body becomes is held where it is inflated."""
    response = send(spoiled(engine, "gzip-bomb"))
    assert response.headers["content-encoding"] == "gzip"
    assert len(response.body) < 1_000_000


def test_nobody_listening_is_a_failure_not_an_exception():
    """A refused connection, a name that does not exist, an answer that is no HTTP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert send(f"http://127.0.0.1:{port}/").failure == "connection"
    assert send("http://does-not-exist.invalid/").failure in ("dns", "connection")


def test_an_answer_that_is_no_http_is_named():
    """Whatever a port says, the task it was asked for ends with a reason."""

    async def asked() -> Response:
        async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example ESMTP\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = AiohttpClient()
        try:
            return await client.send(Request("GET", f"http://127.0.0.1:{port}/", {}), Limits())
        finally:
            await client.close()
            server.close()

    assert asyncio.run(asked()).failure in ("not_http", "connection")


def test_a_proxy_of_the_environment_is_not_asked(engine: PracticeEngine, monkeypatch: pytest.MonkeyPatch):
    """It would be connected to in the engine's place, past every look at where addresses lead."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    response = send(f"{engine.base_url}/search?q=json")
    assert (response.status, response.failure) == (200, "")
    assert len(engine.arrivals) == 1


def test_a_cookie_is_not_brought_back():
    """Each request says what the source's file says, and nothing that an engine planted before."""
    planted = answer(b"hi", Set_Cookie="session=1; Path=/")
    with HostileEngine({"a": planted}) as hostile:
        for _ in range(2):
            send(f"{hostile.base_url}/s?q=a", times=2)
        assert len(hostile.heads) == 4
        assert not any(b"cookie" in head.lower() for head in hostile.heads)


def test_a_post_carries_its_body(engine: PracticeEngine):
    """The method and the body go out as planned."""

    async def asked() -> Response:
        client = AiohttpClient()
        try:
            return await client.send(
                Request("POST", f"{engine.base_url}/search", {}, b'{"q": "x"}'), Limits()
            )
        finally:
            await client.close()

    assert asyncio.run(asked()).status == 405
