"""An engine that means harm: raw bytes over loopback, one answer a keyword, and honest ones for the rest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import Self
from urllib.parse import parse_qs, urlsplit

import orjson

Pieces = Iterable[bytes | float]
"""What goes over the wire, piece by piece; a number is a pause in seconds."""

Answer = Callable[[], Pieces]

CONTENT_TYPES = {
    "css": "text/html",
    "xpath": "text/html",
    "xml": "application/xml",
    "json": "application/json",
}


def honest(language: str, title: str) -> bytes:
    """A good body with one row, in the rules of ``tests.pipeline.test_hostile``."""
    if language == "json":
        return orjson.dumps({"items": [{"title": title}]})
    if language == "xml":
        return f"<rss><item><title>{title}</title></item></rss>".encode()
    return f'<html><body><div class="hit"><h3>{title}</h3></div></body></html>'.encode()


def answer(
    body: bytes, content_type: str = "text/html; charset=utf-8", status: int = 200, **headers: str
) -> Answer:
    """An answer with its length told truly."""
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{named}"
    return lambda: [head.encode("latin-1") + b"Connection: close\r\n\r\n", body]


def streamed(total: int, *, told: bool, chunked: bool = False, start: bytes = b"") -> Answer:
    """A body of so many bytes, never held here: its length told, in chunks, or ended by the connection."""

    def pieces() -> Iterator[bytes]:
        length = f"Content-Length: {total}\r\n" if told else ""
        length = "Transfer-Encoding: chunked\r\n" if chunked else length
        yield f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n{length}\r\n".encode()
        sent, piece = 0, start or b" " * 65_536
        while sent < total:
            yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece
            sent, piece = sent + len(piece), b" " * min(65_536, max(1, total - sent - len(piece)))
        if chunked:
            yield b"0\r\n\r\n"

    return pieces


class HostileEngine:
    """Serves on a loopback port in a thread of its own, for as long as the block.

    ``answers`` are by keyword, or by path where they begin with ``/``. ``asked`` has every target in order,
    ``heads`` what was sent with it.
    """

    def __init__(self, answers: dict[str, Answer], language: str = "css") -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.base_url = ""
        self._language = language
        self._ready: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def port(self) -> int:
        """The port that it serves on."""
        return int(self.base_url.rpartition(":")[2])

    def __enter__(self) -> Self:
        self._thread.start()
        port, self._loop, self._over = self._ready.result(10)
        self.base_url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        over = asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self._ready.set_result((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), over))
        await over.wait()
        server.close()
        # Whoever is still answering stops, and closes what it holds.
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.01)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ", 2)[1].decode()
            self.asked.append(target)
            self.heads.append(head)
            keyword = "".join(parse_qs(urlsplit(target).query).get("q", []))
            chosen = self.answers.get(urlsplit(target).path, self.answers.get(keyword))
            if chosen is None:
                chosen = answer(honest(self._language, f"about {keyword}"), CONTENT_TYPES[self._language])
            for piece in chosen():
                if isinstance(piece, bytes):
                    writer.write(piece)
                    await writer.drain()
                else:
                    await asyncio.sleep(piece)
            await writer.drain()
