"""Two shipped sources against a real MediaWiki, from Debian's package, on loopback."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from pipeline.cli.main import main
from pipeline.http_client import AiohttpClient
from pipeline.source_files import load_sources
from stages.fetch import Done, Judgement, judge_response, plan_request
from stages.records import Task
from tests import servers
from tests.pipeline.kit import make_batch, table_rows

PAGES = {
    f"Harbour lamp {n}": f"Lamp {n} burns on pier {n % 7}; its keeper counts < {n} ships & sleeps."
    for n in range(1, 26)
} | {
    "Gulls & sons": "A shop for ropes; gulls are not for sale.",
    "Brücke (Ort)": "Über die Brücke führt ein Weg; die Möwe heißt auf Englisch gulls.",
    'C++ or "quotes"': "A title that tries hard: gulls 100%.",
    "灯台": "灯台 is Japanese for lighthouse, gulls sit on it.",
}


@pytest.fixture(scope="module")
def wiki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a wiki with these pages."""
    try:
        server = servers.start_mediawiki(tmp_path_factory.mktemp("wiki"), PAGES)
    except servers.Missing as missing:
        # On a laptop a missing server costs these tests; where the tests are the gate it is a failure.
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    yield server.url
    server.stop()


def ask(wiki: str, name: str, keyword: str, page: int = 1) -> Judgement:
    """Ask the wiki over the wire as a run does."""
    loaded = load_sources(None, {name: wiki})[name]
    task = Task(keyword, page)
    request = plan_request(task, make_batch([keyword], source=name), loaded.source, "serpline/test")

    async def send() -> Judgement:
        client = AiohttpClient()
        response = await client.send(request, loaded.source.spec.limits)
        await client.close()
        return judge_response(task, loaded.source, loaded.extractor, response, time.time())

    return asyncio.run(send())


def done(judged: Judgement) -> Done:
    assert isinstance(judged, Done), judged
    assert judged.status == "ok", judged
    return judged


def test_the_api_gives_every_page_once_with_ranks_total_and_text(wiki: str):
    first, last = done(ask(wiki, "mediawiki", "lamp")), done(ask(wiki, "mediawiki", "lamp", 2))
    assert (first.total, len(first.results), len(last.results)) == (25, 20, 5)
    rows = [*first.results, *last.results]
    assert [row.rank for row in rows] == list(range(1, 26))
    assert {row.title for row in rows} == {title for title in PAGES if "lamp" in title}
    assert len({row.url for row in rows}) == 25
    by_title = {row.title: row for row in rows}
    assert by_title["Harbour lamp 7"].snippet.startswith(
        "Lamp 7 burns on pier 0; its keeper counts < 7 ships &"
    )
    assert all(row.url.startswith(f"{wiki}/index.php?curid=") for row in rows)


def test_the_apis_links_lead_to_their_pages(wiki: str):
    """What a row has as its address is answered with that page."""
    [row] = [row for row in done(ask(wiki, "mediawiki", "gulls")).results if row.title == "Brücke (Ort)"]

    async def get() -> tuple[int, str]:
        import aiohttp  # noqa: PLC0415  # only this test reads what a result leads to

        async with aiohttp.ClientSession() as session, session.get(row.url) as response:
            return response.status, await response.text()

    status, text = asyncio.run(get())
    assert status == 200
    assert "Über die Brücke führt ein Weg" in text


@pytest.mark.parametrize("name", ["mediawiki", "mediawiki_page"])
def test_titles_and_texts_of_any_script_come_whole(wiki: str, name: str):
    rows = {row.title: row for row in done(ask(wiki, name, "gulls")).results}
    assert set(rows) == {"Gulls & sons", "Brücke (Ort)", 'C++ or "quotes"', "灯台"}
    assert rows["灯台"].snippet == "灯台 is Japanese for lighthouse, gulls sit on it."
    assert rows["Gulls & sons"].snippet == "A shop for ropes; gulls are not for sale."


@pytest.mark.parametrize("name", ["mediawiki", "mediawiki_page"])
@pytest.mark.parametrize(("keyword", "page"), [("zebra", 1), ("lamp", 9), ("x" * 500, 1), ("日本", 1)])
def test_nothing_found_is_empty_and_ok(wiki: str, name: str, keyword: str, page: int):
    assert done(ask(wiki, name, keyword, page)).results == ()


def test_the_page_gives_what_it_shows_in_its_order(wiki: str):
    """The database's own search has two lists, titles before texts; what is in both is there twice."""
    first = done(ask(wiki, "mediawiki_page", "lamp"))
    assert first.total == 50
    assert [row.rank for row in first.results] == list(range(1, 41))
    api = [row.title for row in done(ask(wiki, "mediawiki", "lamp")).results]
    assert [row.title for row in first.results[20:]] == api
    assert first.results[0].url == f"{wiki}/index.php/" + first.results[0].title.replace(" ", "_")


def test_an_error_of_the_api_is_no_empty_answer(wiki: str, tmp_path: Path):
    """MediaWiki answers errors with status 200; here its own answer to a question it does not take."""
    loaded = load_sources(None)["mediawiki"]
    wrong = loaded.text.replace("srlimit={size}", "srlimit=many")
    (tmp_path / "mediawiki.toml").write_text(wrong)
    own = load_sources(tmp_path, {"mediawiki": wiki})["mediawiki"]
    task = Task("lamp")
    request = plan_request(task, make_batch(["lamp"], source="mediawiki"), own.source, "serpline/test")

    async def send() -> Judgement:
        client = AiohttpClient()
        response = await client.send(request, own.source.spec.limits)
        await client.close()
        assert response.status == 200
        assert orjson.loads(response.body)["error"]["code"]
        return judge_response(task, own.source, own.extractor, response, time.time())

    assert type(asyncio.run(send())).__name__ == "Retry"


@pytest.mark.parametrize("name", ["mediawiki", "mediawiki_page"])
def test_a_run_asks_a_copied_source_of_ones_own_wiki(
    wiki: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As a user does: copy the file with the wiki's address, ask a list, find the rows in the lake."""
    folder = tmp_path / "sources"
    folder.mkdir()
    monkeypatch.setenv("SERPLINE_SOURCES", str(folder))
    assert main(["sources", "copy", name, "our_wiki", "--base-url", wiki]) == 0
    path = folder / "our_wiki.toml"
    path.write_text(
        path.read_text().replace("rate = 1\n", "rate = 20\n").replace("rate = 0.5\n", "rate = 20\n")
    )
    words = tmp_path / "list.txt"
    words.write_text("gulls\nropes\nzebra\n灯台\n")
    lake = tmp_path / "lake"
    assert main(["run", str(words), "--source", "our_wiki", "--lake", str(lake)]) == 0
    found = {keyword: len(results) for keyword, status, results in rows(lake) if status == "ok"}
    assert set(found) == {"gulls", "ropes", "zebra", "灯台"}
    assert found["ropes"] == 1
    assert found["zebra"] == 0
    assert found["gulls"] >= 4


def rows(lake: Path) -> list[tuple[str, str, list[object]]]:
    return table_rows(lake, "keyword", "status", "results")  # type: ignore[return-value]
