"""An engine that repeats the secret it was asked with: nobody who reads rows, logs or reasons sees it."""

from __future__ import annotations

import gzip
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest

from pipeline.cli.main import main
from stages.echo import spellings, without_secrets
from stages.records import Response
from tests.pipeline.hostile_engine import Answer, HostileEngine, answer
from tests.pipeline.kit import table_rows

VALUE = 'k3y/T0ken+that="nobody"&sees'
CAREFUL = rb"k3y/T0ken\u002Bthat=\u0022nobody\u0022\u0026sees"
"""The same as .NET writes it in JSON."""

SOURCE = """name = "keyed"
kind = "api"
summary = "x"
base_url = "{base}"
[request]
url = "{{base_url}}/s?q={{keyword}}"
headers = {{ Authorization = "Bearer {{secret:KEYED}}" }}
[politeness]
rate = 50
rest = 1
max_rest = 1
[limits]
attempts = 1
refusals = 1
[answer]
language = "json"
[[answer.results]]
rows = "items"
fields = {{ title = "title", url = "link", snippet = "text" }}
[answer.failed]
select = ["error"]
"""
JSON = "application/json"


def rows(**fields: str) -> bytes:
    return orjson.dumps({"items": [{"title": "kept", **fields}]})


ECHOES: dict[str, Answer] = {
    "plain": answer(rows(text=f"your key {VALUE} is good"), JSON),
    "packed": answer(gzip.compress(rows(title=VALUE)), JSON, Content_Encoding="gzip"),
    "address": answer(rows(link=f"http://x.example/?key={quote(VALUE, safe='')}"), JSON),
    "slashes": answer(rows(text=VALUE).replace(b"/", b"\\/"), JSON),
    "failed": answer(orjson.dumps({"error": f"no such key: {VALUE}"}), JSON),
    "broken": answer(f"Traceback: {VALUE}".encode(), status=500),
    "unread": answer(f"<h1>{VALUE}</h1>".encode()),
    "refused": answer(VALUE.encode(), status=403, Retry_After="1", X_Key=VALUE),
    "moved": answer(b"", status=302, Location=f"/moved?key={quote(VALUE, safe='')}"),
    "away": answer(b"", status=302, Location=f"http://other.example/?key={quote(VALUE)}"),
    "/moved": answer(rows(), JSON),
    "utf-16": answer(rows(text=VALUE).decode().encode("utf-16"), JSON),
    "utf-16 as told": answer(rows(text=VALUE).decode().encode("utf-16-le"), f"{JSON}; charset=utf-16-le"),
    "latin": answer(rows(text=f"caf\u00e9 {VALUE}").decode().encode("latin-1"), f"{JSON}; charset=latin-1"),
    "careful": answer(rows(text="CAREFUL").replace(b"CAREFUL", CAREFUL), JSON),
}
OTHERS = ("utf-16", "utf-16 as told", "latin", "careful")
FORMS = {
    VALUE,
    quote(VALUE),
    quote(VALUE, safe=""),
    VALUE.replace("/", "\\/"),
    orjson.dumps(VALUE).decode()[1:-1],
    CAREFUL.decode(),
}


def shown(text: str) -> bool:
    return any(form in text for form in FORMS)


def test_a_secret_that_comes_back_is_in_no_row_log_or_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Not in a title, an address, a reason, the log, or an address that a redirect made of it."""
    with HostileEngine(ECHOES, "json") as engine:
        folder = tmp_path / "sources"
        folder.mkdir()
        (folder / "keyed.toml").write_text(SOURCE.format(base=engine.base_url))
        monkeypatch.setenv("SERPLINE_SOURCES", str(folder))
        monkeypatch.setenv("SERPLINE_SECRET_KEYED", VALUE)
        words = tmp_path / "list.txt"
        words.write_text("\n".join([*(word for word in ECHOES if word != "/moved"), "honest"]))
        lake = tmp_path / "lake"
        assert main(["run", str(words), "--source", "keyed", "--lake", str(lake), "--verbose"]) == 0
        printed = capsys.readouterr()
        assert main(["sources", "try", "keyed", "moved"]) in (0, 1)
    assert not shown(printed.out + printed.err)
    found = {row[0]: row for row in table_rows(lake, "keyword", "status", "reason", "url", "results")}
    assert not shown(str(found))
    assert not shown("".join(capsys.readouterr()))
    assert {word: (row[1], row[2]) for word, row in found.items()} == {
        **dict.fromkeys(("plain", "packed", "address", "slashes", "moved", "honest", *OTHERS), ("ok", "")),
        "failed": ("failed", "engine_error"),
        "broken": ("failed", "http_500"),
        "unread": ("failed", "unreadable"),
        "refused": ("refused", "http_403"),
        "away": ("failed", "redirected_elsewhere"),
    }
    assert "***" in str(found["moved"][3])
    assert "your key *** is good" in str(found["plain"])
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert not shown(path.read_bytes().decode("latin-1")), path


def test_a_word_that_answers_may_well_hold_is_no_secret():
    """A trial's key is ``public``, and libraries are: what is that short stays."""
    assert spellings(["public", "1234567"]) == ()
    assert spellings(["12345678"]) == (b"12345678",)


def test_a_header_that_is_no_text_stays_what_it_was():
    response = Response(200, {"x": "\udce9 secret-key"}, b"damaged", "http://x/")
    got = without_secrets(response, spellings(["secret-key"]), 1_000)
    assert got.headers == {"x": "\udce9 ***"}
    packed = Response(200, {"content-encoding": "gzip"}, b"damaged secret-key", "http://x/")
    assert without_secrets(packed, spellings(["secret-key"]), 1_000) == packed
