"""Each misbehaving answer, as it comes over the wire."""

import gzip
import http.client
import json
import time
import zlib
from email.utils import parsedate_to_datetime
from typing import get_args

import pytest
from selectolax.lexbor import LexborHTMLParser

from pipeline.practice.faults import Fault, FaultKind
from pipeline.practice.mischief import _ANSWERS, bomb
from pipeline.practice.server import PracticeEngine
from tests.pipeline.practice.client import Answer, ask

SIZE = 2_000_000


def met(engine: PracticeEngine, kind: FaultKind, path: str = "/search", **how: object) -> Answer:
    engine.set_faults([Fault(kind, share=1.0, **how)])
    return ask(engine.base_url, path, q="read a file")


def test_every_kind_has_an_answer():
    assert set(_ANSWERS) == set(get_args(FaultKind)) - {"slow"}


@pytest.mark.parametrize(
    ("kind", "status", "retry_after"),
    [
        ("throttle", 429, "7"),
        ("unavailable", 503, None),
        ("unavailable-retry", 503, "7"),
        ("forbidden", 403, None),
        ("not-found", 404, None),
        ("error", 500, None),
    ],
)
def test_refusals(engine: PracticeEngine, kind: FaultKind, status: int, retry_after: str | None):
    answer = met(engine, kind, seconds=6.5)
    assert (answer.status, answer.headers.get("Retry-After")) == (status, retry_after)


def test_a_date_to_come_back_is_not_before_it_was_meant(engine: PracticeEngine):
    before = time.time()
    answer = met(engine, "throttle-date", seconds=30.0)
    until = parsedate_to_datetime(answer.headers["Retry-After"]).timestamp()
    assert before + 30 <= until <= time.time() + 31


def test_a_captcha_comes_with_status_200(engine: PracticeEngine):
    answer = met(engine, "captcha")
    assert answer.status == 200
    assert LexborHTMLParser(answer.body).css("form#captcha-form")


def test_another_layout_has_neither_hits_nor_the_mark_that_there_are_none(engine: PracticeEngine):
    engine.set_faults([Fault("layout", share=1.0)])
    for query in ("read a file", "qqxyzzy"):
        page = LexborHTMLParser(ask(engine.base_url, "/search", q=query).body)
        assert not page.css("#results, .hit, .hit-link, .no-hits, #stats")
    assert not {"items", "total"} & set(json.loads(met(engine, "layout", "/api/search").body))


def test_garbage_has_no_meaning(engine: PracticeEngine):
    answer = met(engine, "garbage")
    assert answer.status == 200
    assert not LexborHTMLParser(answer.body).css("div")


def test_slow_is_slow_and_right(engine: PracticeEngine):
    began = time.monotonic()
    assert met(engine, "slow", seconds=0.2).status == 200
    assert time.monotonic() - began >= 0.2


def test_truncated_ends_before_its_end(engine: PracticeEngine):
    with pytest.raises(http.client.IncompleteRead) as caught:
        met(engine, "truncated")
    assert len(caught.value.partial) > 30_000


def test_reset_resets(engine: PracticeEngine):
    with pytest.raises(ConnectionResetError):
        met(engine, "reset")


def test_drip_drips(engine: PracticeEngine):
    engine.set_faults([Fault("drip", share=1.0, seconds=0.02)])
    connection = http.client.HTTPConnection(engine.base_url.removeprefix("http://"), timeout=5)
    connection.request("GET", "/search?q=x")
    response = connection.getresponse()
    began = time.monotonic()
    assert response.read(10) == b"<!doctype "
    assert time.monotonic() - began >= 0.15
    response.close()
    connection.close()


@pytest.mark.parametrize(
    ("kind", "told", "true"),
    [
        ("charset-latin1", "utf-8", "latin-1"),
        ("charset-utf16", "utf-8", "utf-16"),
        ("charset-lie", "utf-16", "utf-8"),
    ],
)
def test_a_wrong_charset_cannot_be_read(engine: PracticeEngine, kind: FaultKind, told: str, true: str):
    answer = met(engine, kind)
    assert answer.headers["Content-Type"] == f"text/html; charset={told}"
    assert 'id="results"' in answer.body.decode(true)
    misread = answer.body.decode(told, errors="replace")
    assert 'id="results"' not in misread or "\ufffd" in misread


def test_a_redirect_away_names_another_host_and_shows_who_followed(engine: PracticeEngine):
    answer = met(engine, "redirect-away")
    port = engine.base_url.rpartition(":")[2]
    assert answer.status == 302
    assert answer.headers["Location"].startswith(f"http://localhost:{port}/elsewhere?")
    ask(f"http://localhost:{port}", "/elsewhere")
    assert engine.arrivals[-1].host == f"localhost:{port}"
    assert (
        met(engine, "redirect-away", location="http://a.example/").headers["Location"] == "http://a.example/"
    )


def test_a_redirect_loop_has_no_end(engine: PracticeEngine):
    answer, seen = met(engine, "redirect-loop"), list[str]()
    for _ in range(6):
        assert answer.status == 302
        seen.append(answer.headers["Location"])
        answer = ask(engine.base_url, seen[-1])
    assert seen[2] == seen[4]


def test_huge_is_as_large_as_told(engine: PracticeEngine):
    assert len(met(engine, "huge", size=SIZE).body) == SIZE


def test_a_bomb_is_small_and_inflates(engine: PracticeEngine):
    answer = met(engine, "gzip-bomb", size=SIZE)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.body) < SIZE / 500
    assert len(gzip.decompress(answer.body)) == SIZE
    twice = met(engine, "gzip-bomb-double", size=SIZE)
    assert twice.headers["Content-Encoding"] == "gzip, gzip"
    assert gzip.decompress(gzip.decompress(twice.body)) == gzip.decompress(answer.body)


def test_the_default_bomb_holds_200_megabytes_in_200_kilobytes():
    packed, unpacker, size = bomb(200_000_000), zlib.decompressobj(31), 0
    piece = unpacker.decompress(packed, 1 << 22)
    while piece:
        size += len(piece)
        piece = unpacker.decompress(unpacker.unconsumed_tail, 1 << 22)
    assert len(packed) < 250_000
    assert size == 200_000_000


def test_the_engine_goes_on_after_each_of_them(engine: PracticeEngine):
    for kind in ("reset", "truncated", "huge"):
        engine.set_faults([Fault(kind, keywords=("bad",))])
        connection = http.client.HTTPConnection(engine.base_url.removeprefix("http://"), timeout=5)
        connection.request("GET", "/search?q=bad")
        connection.close()
        assert ask(engine.base_url, "/search", q="good").status == 200
