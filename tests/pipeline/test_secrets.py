"""Secrets: from the environment into one header of one request, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import msgspec
import orjson
import pytest

from pipeline.cli.main import main
from pipeline.errors import Misuse
from pipeline.http_client import AiohttpClient
from pipeline.settings import read_secret
from pipeline.source_files import load_sources, read_secrets, ready_sources
from stages.fetch import Follow, followed, plan_request
from stages.records import Request
from stages.source import Limits
from tests.pipeline.kit import make_batch

VALUE = "k3y-T0ken_that.nobody/sees"
SOURCE = """
name = "keyed"
kind = "api"
summary = "x"
base_url = "{base}"
[request]
url = "{{base_url}}/s?q={{keyword}}"
headers = {{ Authorization = "Bearer {{secret:KEYED}}", Accept = "application/json" }}
[politeness]
rate = 50
[answer]
language = "json"
[[answer.results]]
rows = "items"
fields = {{ title = "title" }}
[answer.empty]
select = ["items == `[]`"]
"""


@contextmanager
def engine(status: int = 200) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """An engine that keeps the headers it gets, and answers with what it got, as a hostile one may."""
    got: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            got.append(dict(self.headers.items()))
            body = orjson.dumps({"items": [{"title": "One"}]})
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def keyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """A folder with a source that needs a secret; gives the headers that its engine gets."""
    with engine() as (base, got):
        folder = tmp_path / "sources"
        folder.mkdir()
        (folder / "keyed.toml").write_text(SOURCE.format(base=base))
        monkeypatch.setenv("SERPLINE_SOURCES", str(folder))
        monkeypatch.setenv("SERPLINE_LAKE", str(tmp_path / "lake"))
        monkeypatch.setenv("SERPLINE_SECRET_KEYED", VALUE)
        yield got


def test_a_secret_goes_over_the_wire_and_is_never_shown(
    keyed: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
):
    """The engine gets it; whoever tries the source sees where it stands, not what it is."""
    assert main(["sources", "try", "keyed", "a keyword"]) == 0
    printed = capsys.readouterr()
    assert keyed[0]["Authorization"] == f"Bearer {VALUE}"
    assert "Authorization: Bearer ***" in printed.out
    assert main(["sources", "show", "keyed"]) == 0
    assert VALUE not in printed.out + printed.err + capsys.readouterr().out


def test_a_run_asks_with_it_and_keeps_it_nowhere(
    keyed: list[dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Not in the log, not in the tables, not in the frozen run, not in any other file of the lake."""
    words = tmp_path / "list.txt"
    words.write_text("one\ntwo\n")
    assert main(["run", str(words), "--source", "keyed", "--verbose"]) == 0
    assert [headers["Authorization"] for headers in keyed] == [f"Bearer {VALUE}"] * 2
    printed = capsys.readouterr()
    assert VALUE not in printed.out + printed.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert VALUE.encode() not in path.read_bytes(), path


def test_a_missing_secret_is_one_line_that_names_the_variable(
    keyed: list[dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Before anything is asked; other sources work without it."""
    monkeypatch.delenv("SERPLINE_SECRET_KEYED")
    words = tmp_path / "list.txt"
    words.write_text("one\n")
    worker = ["worker", "fetch", "--source", "keyed", "--broker", "redis://127.0.0.1:1"]
    for command in (["sources", "try", "keyed", "x"], ["run", str(words), "--source", "keyed"], worker):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert "SERPLINE_SECRET_KEYED" in err
    assert keyed == []
    assert main(["sources", "list"]) == 0


def test_a_row_for_a_source_without_its_secret_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keyed: list[dict[str, str]]
):
    """It costs its own line, not the run; and neither does a source beyond this machine without a contact."""
    folder = tmp_path / "sources"
    text = (folder / "keyed.toml").read_text()
    open_source = text.replace('"keyed"', '"plain"').replace('Authorization = "Bearer {secret:KEYED}", ', "")
    (folder / "plain.toml").write_text(open_source)
    monkeypatch.delenv("SERPLINE_SECRET_KEYED")
    monkeypatch.delenv("SERPLINE_CONTACT", raising=False)
    words = tmp_path / "list.csv"
    words.write_text("keyword,source\none,\ntwo,keyed\nthree,wikipedia\n")
    assert main(["run", str(words), "--source", "plain", "--run-id", "r"]) == 0
    rejects = (tmp_path / "lake" / "runs" / "r" / "rejects-0.jsonl").read_text().splitlines()
    assert [orjson.loads(line)["reason"] for line in rejects] == ["unknown_source"] * 2
    assert len(keyed) == 1


@pytest.mark.parametrize("value", ["", "  ", "a\r\nX-Evil: 1", "a\x00", "ключ"])
def test_what_no_header_can_carry_is_refused_without_being_shown(value: str):
    with pytest.raises(Misuse, match="SERPLINE_SECRET_KEYED") as refused:
        read_secret("KEYED", {"SERPLINE_SECRET_KEYED": value})
    assert not value.strip() or value not in str(refused.value)


def test_a_source_file_reaches_no_other_variable(monkeypatch: pytest.MonkeyPatch):
    """A file from elsewhere that names the operator's own keys gets none of them."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", VALUE)
    with pytest.raises(Misuse, match="SERPLINE_SECRET_AWS_SECRET_ACCESS_KEY"):
        read_secret("AWS_SECRET_ACCESS_KEY")
    assert read_secret("X", {"SERPLINE_SECRET_X": f" {VALUE}\n", "X": "no"}) == VALUE


def test_a_planned_request_does_not_know_the_secret(keyed: list[dict[str, str]], tmp_path: Path):
    """What may be logged, printed or raised has only the place where it belongs."""
    assert keyed == []
    loaded = load_sources(tmp_path / "sources")["keyed"]
    batch = make_batch(["{secret:KEYED}"], source="keyed")
    request = plan_request(batch.tasks[0], batch, loaded.source, "test")
    assert read_secrets(loaded.source) == {"KEYED": VALUE}
    assert VALUE not in repr(request)
    assert request.secret_headers == {"Authorization": "Bearer {secret:KEYED}"}
    assert "Authorization" not in request.headers


def test_a_redirect_takes_the_secret_to_its_own_host_only():
    """A host that the file allows is still another host; so is the same one on another port or scheme."""
    request = Request("POST", "https://a.example/1", {"Accept": "x"}, b"q", {"Key": "{secret:K}"})
    same = followed(request, Follow("https://a.example/2"))
    assert (same.method, same.url, same.body) == ("GET", "https://a.example/2", None)
    assert same.secret_headers == request.secret_headers
    for url in ("https://b.example/2", "https://a.example:444/2", "http://a.example/2"):
        assert followed(request, Follow(url)).secret_headers == {}
        assert followed(request, Follow(url)).headers == request.headers


def test_an_error_on_the_way_does_not_show_it():
    """A header that the client cannot send, a connection refused: the failure is a word."""

    async def send(secret: str) -> str:
        client = AiohttpClient({"K": secret})
        request = Request("GET", "http://127.0.0.1:9/", {}, None, {"Key": "{secret:K}"})
        response = await client.send(request, Limits())
        await client.close()
        return repr(response)

    for secret in (VALUE, VALUE + "\r\nX: 1"):
        assert VALUE not in asyncio.run(send(secret))


def test_only_what_can_be_asked_from_here_is_ready(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SERPLINE_SECRET_BRAVE_API_KEY", raising=False)
    sources = load_sources(None)
    assert "wikipedia" not in ready_sources(sources, "")
    assert {"practice_page", "searxng"} <= set(ready_sources(sources, ""))
    ready = ready_sources(sources, "me@example.org")
    assert "wikipedia" in ready
    assert "brave" not in ready
    monkeypatch.setenv("SERPLINE_SECRET_BRAVE_API_KEY", VALUE)
    assert "brave" in ready_sources(sources, "me@example.org")
    assert VALUE.encode() not in msgspec.msgpack.encode(sources["brave"].source.spec)
