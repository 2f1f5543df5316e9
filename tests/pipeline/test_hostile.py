"""Hostile answers over the wire: each costs its own task a row with a reason, and its neighbours nothing."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import itertools
import math
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver

from pipeline.http_client import AiohttpClient
from pipeline.judging import Judge
from pipeline.pacers.memory import MemoryPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.practice.mischief import bomb
from pipeline.retrieve import Retriever, retrieve
from pipeline.robots import RobotsShelf
from pipeline.source_files import load_sources
from pipeline.storage.folder import FolderStorage
from stages.extract import compile_rules
from stages.fetch import Done
from stages.records import Page, Response, Task
from stages.source import Source, parse_source
from tests.pipeline.hostile_engine import Answer, HostileEngine, answer, honest, streamed
from tests.pipeline.kit import LOG, Clock, make_batch, make_retriever
from tests.pipeline.kit import Engine as WirelessEngine
from tests.pipeline.kit import http as status_only

HUGE = 200_000_000
LIMIT = 2_000_000
ROWS = {
    "css": ("div.hit", "h3"),
    "xpath": ("//div[@class='hit']", ".//h3"),
    "xml": ("//item", "title"),
    "json": ("items", "title"),
}
NEIGHBOURS = ("before", "after")


def source_text(base_url: str, language: str = "css", head: str = "", **limits: float) -> str:
    """The file of a source of this engine, with small limits."""
    rows, title = ROWS[language]
    bounds = {"timeout": 5.0, "bytes": LIMIT, "attempts": 2, **limits}
    return (
        f'name = "hostile"\nkind = "api"\nsummary = "x"\nbase_url = "{base_url}"\n{head}\n'
        '[request]\nurl = "{base_url}/s?q={keyword}"\n'
        "[politeness]\nrate = 1000\nburst = 100\nconcurrency = 8\n"
        "[limits]\n" + "".join(f"{name} = {value}\n" for name, value in bounds.items()) + "[answer]\n"
        f'language = "{language}"\n[[answer.results]]\nrows = "{rows}"\nfields = {{ title = "{title}" }}\n'
    )


def source_at(base_url: str, language: str = "css", head: str = "", **limits: float) -> Source:
    """The same, read."""
    return parse_source(source_text(base_url, language, head, **limits))


def ask(
    source: Source,
    keywords: Iterable[str],
    robots: RobotsShelf | None = None,
    names: AbstractResolver | None = None,
) -> dict[str, Page]:
    """Ask for these as a fleet does, each cut of the batch after the other, until all of it has ended."""

    async def asked() -> dict[str, Page]:
        client = AiohttpClient(private_hosts=source.spec.private_hosts, resolver=names)
        retriever = Retriever(
            source,
            compile_rules(source.spec.answer),
            client,
            Pacer(MemoryPaceStore(), time.time),
            "serpline/test",
            jitter=lambda: 0.0,
            robots=robots,
            log=LOG,
        )
        left, pages = make_batch(keywords, source="hostile").tasks, {}
        try:
            for _ in range(4):
                batch = make_batch([], source="hostile", tasks=left)
                got = await retrieve(batch, retriever, lambda: math.inf)
                pages |= {page.task.keyword: page for page in got.pages}
                left = got.left
                if not left:
                    return pages
        finally:
            await client.close()
        raise AssertionError(f"still not ended: {left}")

    return asyncio.run(asked())


def outcome(hostile: Answer, language: str = "css", **limits: float) -> tuple[str, str]:
    """What became of the task that met this answer, once its neighbours are seen to have ended well."""
    with HostileEngine({"bad": hostile}, language) as engine:
        pages = ask(source_at(engine.base_url, language, **limits), ("before", "bad", "after"))
    assert [(pages[word].status, pages[word].results[0].title) for word in NEIGHBOURS] == [
        ("ok", f"about {word}") for word in NEIGHBOURS
    ]
    return pages["bad"].status, pages["bad"].reason


def peak_of(hostile: Answer, language: str = "css") -> tuple[tuple[str, str], int]:
    """The outcome, and the most bytes of Python's that it took."""
    tracemalloc.start()
    try:
        return outcome(hostile, language), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def moved(location: str) -> Answer:
    return answer(b"", status=302, Location=location)


@pytest.mark.parametrize(
    "hostile",
    [
        streamed(HUGE, told=True),
        streamed(HUGE, told=False),
        streamed(HUGE, told=False, chunked=True),
        answer(bomb(HUGE), Content_Encoding="gzip"),
        answer(gzip.compress(bomb(HUGE)), Content_Encoding="gzip, gzip"),
        answer(gzip.compress(b"") * 20 + bomb(HUGE), Content_Encoding="gzip"),
    ],
    ids=["length", "no length", "chunks", "bomb", "bomb in a bomb", "bomb behind members"],
)
def test_200_megabytes_are_too_large_however_they_come(hostile: Answer):
    """At the limit the reading stops: a few times the source's limit is held, and seconds are spent."""
    started = time.monotonic()
    ended, peak = peak_of(hostile)
    assert ended == ("failed", "too_large")
    assert peak < 10 * LIMIT
    assert time.monotonic() - started < 10


def one_byte_a_second(start: bytes) -> Answer:
    return lambda: itertools.chain([start], itertools.chain.from_iterable(itertools.repeat((b"x", 1.0))))


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nx",
    ],
    ids=["body", "header", "status", "chunk"],
)
def test_one_byte_a_second_takes_the_time_limit_and_no_more(start: bytes):
    """Wherever the bytes drip, the source's time-out ends the request; each attempt costs that much."""
    started = time.monotonic()
    status, reason = outcome(one_byte_a_second(start), timeout=0.6)
    assert (status, reason) in (("failed", "timeout"), ("failed", "not_http"), ("failed", "cut_short"))
    assert time.monotonic() - started < 2 * 0.6 + 2


def heads(*lines: bytes) -> Answer:
    return lambda: [b"HTTP/1.1 200 OK\r\n", *lines, b"Content-Length: 0\r\nConnection: close\r\n\r\n"]


@pytest.mark.parametrize(
    "hostile",
    [
        heads(b"X-Long: " + b"x" * 1_000_000 + b"\r\n"),
        heads(*(f"X-{n}: {'y' * 90}\r\n".encode() for n in range(10_000))),
        heads(b"X" * 1_000_000 + b": y\r\n"),
        lambda: [b"HTTP/1.1 200 " + b"O" * 1_000_000 + b"\r\n\r\n"],
        lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n", 20_000),
    ],
    ids=["one of 1 MB", "10,000 of them", "a name of 1 MB", "a reason of 1 MB", "continue without end"],
)
def test_headers_without_end_are_no_http(hostile: Answer):
    """An answer whose head is larger than heads are is not read on."""
    (status, reason), peak = peak_of(hostile)
    assert status == "failed"
    assert reason in ("not_http", "connection", "timeout")
    assert peak < 20_000_000


@pytest.mark.parametrize(
    ("hostile", "reasons"),
    [
        (list, {"connection"}),
        (lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"], {"cut_short"}),
        (lambda: [b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"], {"not_http"}),
        (lambda: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], {"cut_short", "not_http"}),
        (lambda: [b"HTTP/1.1 9999999 OK\r\n\r\n"], {"not_http", "connection"}),
        (lambda: [b"\x16\x03\x01\x00\x00" * 100], {"not_http", "connection"}),
    ],
    ids=["nothing", "half", "negative length", "no chunk", "status", "another protocol"],
)
def test_broken_http_is_tried_again_and_then_failed(hostile: Answer, reasons: set[str]):
    status, reason = outcome(hostile)
    assert status == "failed"
    assert reason in reasons


def test_a_redirect_loop_ends_at_the_sources_limit():
    """Two redirects are followed, as the source says, and the fourth request is never sent."""
    with HostileEngine({"bad": moved("/s?q=bad&again")}) as engine:
        pages = ask(source_at(engine.base_url), ("before", "bad", "after"))
        assert sum("q=bad" in target for target in engine.asked) == 3
    assert (pages["bad"].status, pages["bad"].reason) == ("failed", "too_many_redirects")
    assert pages["before"].status == pages["after"].status == "ok"


def test_a_redirect_off_the_allowed_hosts_is_not_followed():
    """Not to another port, name or address, of this machine or of the cloud."""
    with HostileEngine({}) as other:
        for away in (other.base_url, f"http://localhost:{other.port}", "http://169.254.169.254"):
            assert outcome(moved(f"{away}/latest/meta-data")) == ("failed", "redirected_elsewhere")
        assert other.asked == []


HIT = b'<div class="hit"><h3>t</h3></div>'
XML_BOMB = (
    "<!DOCTYPE rss ["
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "aaaaaaaaaa"}">' for n in range(12))
    + "]><rss><item><title>one</title></item><item><title>&a11;</title></item></rss>"
).encode()


@pytest.mark.parametrize(
    ("language", "body"),
    [
        ("css", HIT + b"<div>" * 100_000 + HIT),
        ("xpath", HIT + b"<div>" * 100_000 + HIT),
        ("xpath", HIT + b"<div>" * 300 + b"</div>" * 300 + HIT),
        ("xml", b"<rss><item><title>t</title></item>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</rss>"),
        ("xml", b"<rss><item><title>t</title></item>" + b"<a>" * 300 + b"</a>" * 300 + b"</rss>"),
        ("xml", XML_BOMB),
        ("json", b"[" * 100_000 + b"]" * 100_000),
        ("json", b'{"items":' * 100_000 + b"[]" + b"}" * 100_000),
    ],
)
@pytest.mark.filterwarnings("ignore:Input data is too big")
def test_nesting_and_entities_without_end_are_unreadable(language: str, body: bytes):
    """No crash, no minutes, and never the rows before the trouble as if they were all."""
    started = time.monotonic()
    assert outcome(answer(body), language) == ("failed", "unreadable")
    assert time.monotonic() - started < 5


def kept(work: Callable[[], object]) -> tuple[object, float, float]:
    """What comes of work beside a loop, its seconds, and the most that passed without a turn of the loop.

    Seconds are the processor's, so that a busy machine changes none of them.
    """

    async def timed() -> tuple[object, float, float]:
        longest, last, began = 0.0, time.process_time(), time.process_time()
        working = asyncio.ensure_future(_awaited(work()))
        while not working.done():
            await asyncio.sleep(0.005)
            longest, last = max(longest, time.process_time() - last), time.process_time()
        return working.result(), time.process_time() - began, longest

    return asyncio.run(timed())


async def _awaited(found: object) -> object:
    return await found if inspect.isawaitable(found) else found


def judge(source: Source, body: bytes, patience: float = 100.0) -> Callable[[], object]:
    """The judgement of one answer, as a batch comes by it."""
    rules = compile_rules(source.spec.answer)
    response = Response(200, {}, body, "http://127.0.0.1:1/s")
    return lambda: Judge(source, rules, time.time, LOG, patience)(Task("x"), response)


SHIPPED = load_sources(None)
AT = "http://127.0.0.1:1"
MOST = 6_000_000
FEED_TAIL = b"</channel></rss>"
FEED_HEAD = b'<rss xmlns:o="http://a9.com/-/spec/opensearch/1.1/"><channel>'
NESTED_IN_SEARXNG = b'<article class="result"><h3><a href="/">x</a></h3>'


@pytest.mark.parametrize(
    ("source", "body"),
    [
        (
            SHIPPED["opensearch_feed"].source,
            FEED_HEAD + b"<o:startIndex>1</o:startIndex>" * 7_500 + FEED_TAIL,
        ),
        (SHIPPED["opensearch_feed"].source, FEED_HEAD + b"<item/>" * 700_000 + FEED_TAIL),
        (SHIPPED["searxng_page"].source, NESTED_IN_SEARXNG * 9_000),
        (source_at(AT, bytes=MOST), b'<div class="hit">' * 19_000),
        (source_at(AT, bytes=MOST), b'<div class="hit">' * 1_400 + b"<p></p>" * 100_000),
        (source_at(AT, bytes=MOST), b'<div class="hit">' * 1_400 + b"<h3>" + b"x " * 1_000_000),
        (source_at(AT, bytes=MOST), b'<div class="hit"></div>' * 200_000),
        (source_at(AT, bytes=MOST), b"<div>" * 700_000),
        (source_at(AT, "xpath", bytes=MOST), b'<div class="hit">' * 200 + b"<h3>" + b"x " * 2_000_000),
        (source_at(AT, "json", bytes=MOST), b'{"items":[' + b"0," * 2_000_000 + b"0]}"),
    ],
    ids=[
        "start indexes",
        "items",
        "searxng in searxng",
        "hits in hits",
        "hits round much",
        "hits round text",
        "hits",
        "deep",
        "xpath hits in hits",
        "json items",
    ],
)
def test_no_answer_keeps_its_neighbours_waiting(source: Source, body: bytes):
    """Whatever is nested in what, it is read or given up within seconds, and others have turns meanwhile."""
    judged, took, longest = kept(judge(source, body))
    assert judged == Done("failed", "unreadable", len(body))
    assert took < 8
    assert longest < 2


def test_elements_that_are_opened_anew_do_not_fill_the_memory():
    """``<b>`` that is never closed is repeated wherever what it stands in ends: 40 kB would become 2 GB."""
    body = b"<div>" * 2_000 + b"".join(b"<b a=%d>" % n for n in range(2_000)) + b"</div>x" * 2_000
    few = b"<div>" * 900 + b"".join(b"<b a=%d>" % n for n in range(500)) + b"</div>x" * 900 + b"</b>" * 500
    for hostile in (HIT + body, HIT + few + few):
        judged, took, _ = kept(judge(source_at(AT, bytes=MOST), hostile))
        assert judged == Done("failed", "unreadable", len(hostile))
        assert took < 5


def test_many_honest_rows_are_read():
    """A thousand results, one row in another, and a large page of them are nothing hostile."""
    text = b"x" * 400
    many = (b'<div class="hit"><h3>t</h3><p><a><b>' + text + b"</b></a></p></div>") * 1_000
    twice = (b'<div class="hit"><h3>t</h3><div class="hit"><h3>u</h3><p>' + text + b"</p></div></div>") * 500
    for body in (many, twice):
        judged, _, longest = kept(judge(source_at(AT, bytes=MOST), body))
        assert isinstance(judged, Done)
        assert (judged.status, len(judged.results)) == ("ok", 1_000)
        assert longest < 2


def test_a_rule_that_takes_for_ever_costs_its_own_task():
    """Nobody waits for it beyond seconds: the loop goes on, and so do the neighbours."""
    text = source_text(AT, "xpath") + '[answer.empty]\nselect = ["//p[number() > number(//b)]"]\n'
    slow = parse_source(text)
    body = b"<p>1</p>" * 40_000 + b"<b>2</b>"
    judged, took, longest = kept(judge(slow, body, patience=1.0))
    assert judged == Done("failed", "unreadable", len(body))
    assert took < 10
    assert longest < 3


DENSE = """
import resource, sys
from stages.extract import compile_rules
from stages.fetch import judge_response
from stages.records import Response, Task
from stages.source import parse_source
source = parse_source(sys.argv[3])
rules, piece = compile_rules(source.spec.answer), sys.argv[2].encode()
head, tail = {"xml": (b"<rss>", b"</rss>"), "json": (b"[", b"0]")}.get(sys.argv[1], (b"", b""))
body = head + piece * (5_000_000 // len(piece)) + tail
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
judged = judge_response(Task("x"), source, rules, Response(200, {}, body, "http://127.0.0.1:1/s"), 0.0)
print(judged.reason, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    ("language", "piece"), [("css", "<br>"), ("xpath", "<br>"), ("xml", "<a/>"), ("json", "[],")]
)
def test_a_page_of_nothing_but_elements_takes_memory_of_a_known_order(language: str, piece: str):
    """The parsers' own memory too: at the limit of 5 MB no more than 300 MB, in a process of its own."""
    text = source_text("http://127.0.0.1:1", language, bytes=6_000_000)
    command = [sys.executable, "-W", "ignore", "-c", DENSE, language, piece, text]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - our own words
    reason, kilobytes = ran.stdout.split()
    assert reason == "unreadable"
    # Linux counts in kilobytes, macOS in bytes.
    assert int(kilobytes) / (1_024 if sys.platform == "darwin" else 1) < 300_000


FEED = b"<rss>" + b"<item><title>A &amp; B</title></item>" * 3 + b"</rss>"


@pytest.mark.parametrize("cut", [len(b"</rss>"), 20, 60, 90, len(FEED) - 6])
def test_a_feed_that_ends_early_is_damaged_not_a_shorter_feed(cut: int):
    """The parser would mend it and give the rows so far; it is asked for again, and then failed."""
    assert outcome(answer(FEED[:-cut]), "xml") == ("failed", "damaged")


@pytest.mark.parametrize(
    ("body", "content_type", "title"),
    [
        (honest("css", "caf\xe9").decode().encode("latin-1"), "text/html; charset=utf-8", "caf\ufffd"),
        (honest("css", "café"), "text/html; charset=utf-16", "café"),
        (honest("css", "café"), "text/html; charset=no-such", "café"),
        (honest("css", "a-b").replace(b"-", b"\xff"), "text/html", "a\ufffdb"),
    ],
)
def test_bytes_that_no_charset_has_cost_themselves(body: bytes, content_type: str, title: str):
    """Invalid UTF-8 and a charset that lies: the row is there, with what could be read."""
    with HostileEngine({"bad": answer(body, content_type)}) as engine:
        [page] = ask(source_at(engine.base_url), ["bad"]).values()
    assert page.status == "ok"
    assert [result.title for result in page.results] == [title]


def test_a_gzip_of_many_members_is_read_to_its_end():
    """What comes in two members has the rows of both."""
    body = honest("css", "one") + honest("css", "two")
    for at in (1, len(body) // 2, len(body)):
        packed = gzip.compress(body[:at]) + gzip.compress(body[at:])
        with HostileEngine({"bad": answer(packed, Content_Encoding="gzip")}) as engine:
            [page] = ask(source_at(engine.base_url), ["bad"]).values()
        assert [result.title for result in page.results] == ["one", "two"]


DAY = 86_400.0


@pytest.mark.parametrize("value", [str(365 * 86_400), "Wed, 01 Dec 2027 00:00:00 GMT"])
def test_a_retry_after_of_a_year_closes_the_source_and_ends_what_waits(value: str):
    """It is obeyed: nothing more is sent. The tasks wait as long as the source says, then end as refused."""
    clock = Clock(1_796_000_000.0)
    engine = WirelessEngine({"a": [status_only(429, retry_after=value)]}, clock)
    retriever = make_retriever(engine, clock, max_closed=DAY, concurrency=1)
    got = asyncio.run(retrieve(make_batch("abc"), retriever, lambda: math.inf))
    assert got.pages == []
    assert got.delay > 300 * DAY
    clock.now += DAY + 1
    got = asyncio.run(retrieve(make_batch([], tasks=got.left), retriever, lambda: math.inf))
    assert {page.task.keyword: (page.status, page.reason) for page in got.pages} == dict.fromkeys(
        "abc", ("refused", "http_429")
    )
    assert len(engine.asked) == 1


@pytest.mark.parametrize("value", ["-5", "soon", "1e9", "Tue, 01 Jan 2002 00:00:00 GMT", "9" * 5_000])
def test_a_retry_after_that_means_nothing_is_a_refusal_that_names_no_time(value: str):
    """The source rests as its file says, and after one trial request goes on."""
    clock = Clock(1_796_000_000.0)
    engine = WirelessEngine({"a": [status_only(429, retry_after=value)]}, clock)
    retriever = make_retriever(engine, clock, rest=60, concurrency=1)
    got = asyncio.run(retrieve(make_batch("abc"), retriever, lambda: math.inf))
    assert (got.pages, got.delay) == ([], pytest.approx(60))
    clock.now += 61
    got = asyncio.run(retrieve(make_batch([], tasks=got.left), retriever, lambda: math.inf))
    assert {page.status for page in got.pages} == {"ok"}
    assert len(got.pages) == 3


def with_robots(folder: Path, robots: Answer, keywords: Iterable[str] = ("a", "b")) -> dict[str, Page]:
    """Ask an engine with this robots.txt."""
    with HostileEngine({"/robots.txt": robots}) as engine:
        shelf = RobotsShelf(FolderStorage(folder), time.time)
        return ask(source_at(engine.base_url), keywords, shelf)


@pytest.mark.parametrize(
    ("told", "chunked"), [(True, False), (False, False), (False, True)], ids=["length", "none", "chunks"]
)
def test_a_robots_of_20_megabytes_is_obeyed_as_far_as_it_is_read(
    tmp_path: Path,
    told: bool,  # noqa: FBT001  # a row of the table above
    chunked: bool,  # noqa: FBT001  # and another
):
    """Its first 500 KiB hold, more than the source's limit on a page or not; the rest is not even fetched."""
    big = streamed(20_000_000, told=told, chunked=chunked, start=b"User-agent: *\nDisallow: /s\n")
    tracemalloc.start()
    pages = with_robots(tmp_path, big)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {(page.status, page.reason, page.attempts) for page in pages.values()} == {
        ("refused", "robots", 0)
    }
    assert peak < 10_000_000


def test_a_robots_redirect_loop_says_nothing_and_nothing_is_asked(tmp_path: Path):
    """Six requests for the rules, then the source is closed; no question goes out."""
    with HostileEngine({"/robots.txt": moved("/robots.txt")}) as engine:
        shelf = RobotsShelf(FolderStorage(tmp_path), time.time)
        with pytest.raises(AssertionError, match="still not ended"):
            ask(source_at(engine.base_url), ["a"], shelf)
        assert engine.asked == ["/robots.txt"] * 6
