"""The address that an echo URL tells, or the sentence that says why there is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import msgspec
import pytest

from pipeline.errors import Misuse
from pipeline.http_client import AiohttpClient
from pipeline.measure.address import LIMITS, ask_echo, check_echo, check_echo_url, is_local
from pipeline.source_files import load_sources
from stages.records import Request, Response
from stages.source import Limits

URL = "http://127.0.0.1:1/echo"


class Scripted:
    """A client that answers this."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.asked: list[Request] = []

    async def send(self, request: Request, limits: Limits) -> Response:
        assert limits == LIMITS
        self.asked.append(request)
        return self.response

    async def close(self) -> None:
        pass


def told(body: bytes, status: int = 200, failure: str = "") -> tuple[str | None, str | None]:
    client = Scripted(Response(status, {}, body, URL, failure=failure))
    answer = asyncio.run(ask_echo(client, URL, "serpline/1 (+tests@example.org)"))
    [request] = client.asked
    assert (request.method, request.url) == ("GET", URL)
    assert request.headers["User-Agent"] == "serpline/1 (+tests@example.org)"
    return answer


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"address": "192.0.2.7", "user_agent": "x"}', "192.0.2.7"),
        (b'{"ip":"2001:DB8::0001"}', "2001:db8::1"),
        (b'{"origin": "192.0.2.7"}', "192.0.2.7"),
        (b'{"address": null, "ip": "192.0.2.7"}', "192.0.2.7"),
        (b"192.0.2.7\n", "192.0.2.7"),
        (b'"192.0.2.7"', "192.0.2.7"),
    ],
)
def test_echoes_tell_it_as_text_or_json(body: bytes, found: str):
    """Under the names that such services use, written in one way."""
    assert told(body) == (found, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b'{"ip": "yours"}',
        b"[]",
        b"12",
        b"\xff\xfe\x00",
        b"[" * 5000,
        b"192.0.2.7, 192.0.2.8",
    ],
)
def test_garbage_is_told_and_is_no_address(body: bytes):
    """With its beginning, never with all of it."""
    found, why = told(body)
    assert found is None
    assert why is not None
    assert why.startswith("the echo URL's answer is no address: ")
    assert len(why) < 450


@pytest.mark.parametrize(
    ("status", "failure", "why"),
    [
        (500, "", "answered with status 500"),
        (302, "", "answered with status 302"),
        (0, "timeout", "failed: timeout"),
        (200, "too_large", "failed: too_large"),
        (0, "connection", "failed: connection"),
    ],
)
def test_an_echo_that_fails_is_told(status: int, failure: str, why: str):
    """A redirect is followed nowhere; nothing of this ends a probe."""
    found, said = told(b"192.0.2.7", status, failure)
    assert found is None
    assert said is not None
    assert said.endswith(why)


@contextmanager
def serving(kind: str) -> Iterator[str]:
    """An echo on this machine that is slow, endless or gone in the middle."""
    over = Event()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if kind == "slow":
                over.wait(20)
                return
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(2000):
                    self.wfile.write(b"x" * 10_000)
            except OSError:
                pass

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/echo"
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("kind", "why"), [("slow", "timeout"), ("endless", "too_large")])
def test_a_real_echo_is_waited_for_and_read_within_bounds(kind: str, why: str):
    """Over a wire: one that does not answer costs seconds, one that does not end some kilobytes."""
    limits = Limits(timeout=0.5, bytes=LIMITS.bytes)

    async def asked(url: str) -> tuple[str | None, str | None]:
        client = AiohttpClient()
        try:
            return await ask_echo(client, url, "serpline/1", limits)
        finally:
            await client.close()

    with serving(kind) as url:
        begun = time.monotonic()
        assert asyncio.run(asked(url)) == (None, f"the echo URL failed: {why}")
        assert time.monotonic() - begun < 5


def test_the_bounds_are_narrow():
    """An answer is one address: five seconds and sixteen kilobytes are plenty."""
    assert LIMITS.timeout <= 5
    assert LIMITS.bytes <= 16_384


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("", "takes a URL"),
        ("echo.example.org", "takes a URL"),
        ("file:///etc/passwd", "takes a URL"),
        ("http://user:secret@echo.example.org/", "takes a URL"),
        ("http://echo.example.org/a b", "takes a URL"),
        ("http://169.254.169.254/latest/meta-data", "where nothing is asked"),
        ("http://[::1", "takes a URL"),
        ("http://169.254.169.254./", "where nothing is asked"),
        ("https://en.wikipedia.org/", "which is a search engine's"),
        ("https://EN.wikipedia.org.:8443/", "which is a search engine's"),
        ("https://duckduckgo.com/", "which is a search engine's"),
        ("https://www.google.co.uk./", "which is a search engine's"),
        ("https://search.brave.com/", "which is a search engine's"),
        ("http://bing.com/", "which is a search engine's"),
        ("https://echo.example.org/?q=x", "without a question"),
        ("https://echo.example.org/?", "without a question"),
        ("http://10.0.0.5/echo", "in a private network"),
        ("http://[fd12::1]/echo", "in a private network"),
        ("http://127.0.0.1:8650/echo", "finds only itself"),
        ("http://localhost./echo", "finds only itself"),
    ],
)
def test_what_is_no_echo_is_refused(url: str, what: str):
    """Neither a file, nor a cloud's metadata, a search, or what a function on AWS cannot reach."""
    with pytest.raises(Misuse, match=what):
        check_echo(url, "tests@example.org", load_sources(None), local=False)
    # A probe looks by itself: it knows no sources and needs none for this.
    with pytest.raises(Misuse, match=what):
        check_echo_url(url, local=False)


@pytest.mark.parametrize("url", ["https://ENGINE.example.org./", "https://engine.example.org:8443/echo"])
def test_the_engine_of_ones_own_source_is_refused(url: str):
    """However its name is written."""
    sources = load_sources(None)
    wiki = next(loaded for name, loaded in sources.items() if not name.startswith("practice_"))
    source = msgspec.structs.replace(wiki.source, hosts=("engine.example.org",))
    with pytest.raises(Misuse, match="which is the search engine of source mine"):
        check_echo(url, "x@example.org", {"mine": msgspec.structs.replace(wiki, source=source)}, local=False)


def test_this_machine_is_asked_only_by_functions_that_run_on_it():
    """An emulator's do; its address says so."""
    assert is_local("http://127.0.0.1:4566")
    assert is_local("http://localhost:4566")
    assert not is_local("https://lambda.eu-central-1.amazonaws.com")
    check_echo_url("http://127.0.0.1:8650/echo", local=True)


def test_beyond_this_machine_a_contact_is_needed():
    """As for every request that goes out."""
    sources = load_sources(None)
    check_echo("https://echo.example.org/", "tests@example.org", sources, local=False)
    check_echo("http://127.0.0.1:8650/echo", "", sources, local=True)
    with pytest.raises(Misuse, match="SERPLINE_CONTACT"):
        check_echo("https://echo.example.org/", "", sources, local=False)
