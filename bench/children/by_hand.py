"""The floor: the same work by hand. ``python -m bench.children.by_hand KIND BASE_URL KEYWORDS OUTPUT``.

An HTTP client that knows only what this server sends, on 16 kept connections over a bare asyncio
protocol; the fastest parser for each kind (``css``: Lexbor, ``xpath``: precompiled lxml, ``json``:
orjson); lines of JSON. No retries, no pace, no tables: nobody can do the work for less in Python.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote, unquote

import orjson
from lxml import etree, html
from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.bootstrap import new_runner

CONNECTIONS = 16

_Page = tuple[int, list[dict[str, object]]]
_TARGET = "target="


class _Connection(asyncio.Protocol):
    """One kept connection: sends the next question as soon as an answer is read."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._buffer = bytearray()
        self._needed = 0
        self._body_at = 0
        self._keyword = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._needed:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            if not head.startswith(b"http/1.1 200"):
                raise ValueError(head)
            self._body_at = end + 4
            self._needed = self._body_at + int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(self._buffer) >= self._needed:
            body = bytes(memoryview(self._buffer)[self._body_at : self._needed])
            self._buffer = bytearray()
            self._needed = 0
            self._work.take(self._keyword, body)
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._work.lost(exc)

    def _next(self) -> None:
        keyword = next(self._work.keywords, None)
        if keyword is None:
            self._transport.close()
            return
        self._keyword = keyword
        self._transport.write(self._work.request % quote(keyword, safe="").encode())


class _Work:
    """What all connections share."""

    def __init__(
        self, request: bytes, keywords: Iterator[str], read: Callable[[bytes], _Page], to: BinaryIO
    ) -> None:
        self.request = request
        self.keywords = keywords
        self._read = read
        self._to = to
        self._open = CONNECTIONS
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, keyword: str, body: bytes) -> None:
        total, results = self._read(body)
        self._to.write(orjson.dumps({"keyword": keyword, "total": total, "results": results}) + b"\n")

    def lost(self, error: Exception | None) -> None:
        self._open -= 1
        if error is not None and not self.done.done():
            self.done.set_exception(error)
        elif not self._open and not self.done.done():
            self.done.set_result(None)


def _target(href: str) -> str:
    return unquote(href.partition(_TARGET)[2].partition("&")[0])


def _digits(text: str) -> int:
    return int("".join(letter for letter in text if letter.isdigit()))


def _read_css(body: bytes) -> _Page:
    page = LexborHTMLParser(body)
    results: list[dict[str, object]] = []
    for rank, row in enumerate(page.css("#results > div.hit"), 1):
        link = row.css_first("a.hit-link")
        results.append(
            {
                "rank": rank,
                "title": _text(row.css_first("h3")),
                "url": _target((link.attributes["href"] if link is not None else None) or ""),
                "snippet": _text(row.css_first(".hit-words")),
            }
        )
    return _digits(_text(page.css_first("#stats"))), results


def _text(node: LexborNode | None) -> str:
    return "" if node is None else " ".join(node.text().split())


_PARSER = html.HTMLParser(encoding="utf-8", collect_ids=False)
_ROWS = etree.XPath('//div[@id="results"]/div[@class="hit"]')
_STATS = etree.XPath('string(//*[@id="stats"])', smart_strings=False)
_TITLE = etree.XPath("string(.//h3)", smart_strings=False)
_LINK = etree.XPath('string(.//a[@class="hit-link"]/@href)', smart_strings=False)
_SNIPPET = etree.XPath('string(.//*[@class="hit-words"])', smart_strings=False)


def _read_xpath(body: bytes) -> _Page:
    page = etree.fromstring(body, _PARSER)
    return _digits(str(_STATS(page))), [
        {
            "rank": rank,
            "title": " ".join(str(_TITLE(row)).split()),
            "url": _target(str(_LINK(row))),
            "snippet": " ".join(str(_SNIPPET(row)).split()),
        }
        for rank, row in enumerate(_ROWS(page), 1)
    ]


def _read_json(body: bytes) -> _Page:
    page = orjson.loads(body)
    return page["total"], [
        {
            "rank": item["position"],
            "title": " ".join(item["title"].split()),
            "url": item["link"],
            "snippet": " ".join(item["snippet"].split()),
        }
        for item in page["items"]
    ]


KINDS = {"css": _read_css, "xpath": _read_xpath, "json": _read_json}


async def _work(kind: str, base_url: str, keywords: Path, output: Path) -> None:
    host = base_url.removeprefix("http://")
    path = "/api/search?q=%s&hl=en&page=1&size=10" if kind == "json" else "/search?q=%s&hl=en&page=1"
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: by-hand\r\n\r\n".encode()
    address, _, port = host.partition(":")
    with keywords.open(encoding="utf-8") as lines, output.open("wb") as to:
        work = _Work(request, (line.rstrip("\n") for line in lines), KINDS[kind], to)
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            await loop.create_connection(lambda: _Connection(work), address, int(port))
        await work.done


if __name__ == "__main__":
    with new_runner() as runner:
        runner.run(_work(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
