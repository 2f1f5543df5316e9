"""The feed source against a real engine with OpenSearch elements: Xapian Omega, from Debian's package."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.main import main
from pipeline.http_client import AiohttpClient
from pipeline.source_files import LoadedSource, load_sources
from stages.fetch import Done, judge_response, plan_request
from stages.records import Task
from tests import servers
from tests.pipeline.kit import make_batch, table_rows

PAGES = {
    f"Harbour lamp {n}": f"Lamp {n} burns on pier {n % 7}; its keeper counts < {n} ships & sleeps."
    for n in range(1, 26)
} | {
    "Gulls & sons": "A shop for ropes; gulls are not for sale.",
    "Brücke (Ort)": "Über die Brücke führt ein Weg; die Möwe heißt auf Englisch gulls.",
    'C++ or "quotes" <b>': "A title that tries hard: gulls 100%.",
    "灯台": "灯台 is Japanese for lighthouse, gulls sit on it.",
}
SHIPPED = 'url = "{base_url}/search?q={keyword}&format=rss&startIndex={start}&count={size}"'
OMEGA = 'url = "{base_url}/omega?P={keyword}&FMT=opensearch&TOPDOC={offset}&HITSPERPAGE={size}&MINHITS=1000"'
ONCE = """'description' or local-name()='summary']", transforms = ["text"] }"""
TWICE = ONCE.replace('["text"]', '["text", "text"]')


@pytest.fixture(scope="module")
def omega(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an engine that knows these pages."""
    try:
        server = servers.start_omega(tmp_path_factory.mktemp("omega"), PAGES)
    except servers.Missing as missing:
        # On a laptop a missing server costs these tests; where the tests are the gate it is a failure.
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    yield server.url
    server.stop()


@pytest.fixture
def copied(omega: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedSource:
    """As a user does: the shipped file copied with the engine's address, and its template written in."""
    folder = tmp_path / "sources"
    folder.mkdir()
    monkeypatch.setenv("SERPLINE_SOURCES", str(folder))
    assert main(["sources", "copy", "opensearch_feed", "our_omega", "--base-url", omega]) == 0
    path = folder / "our_omega.toml"
    text = path.read_text("utf-8")
    assert SHIPPED in text
    assert ONCE in text
    text = text.replace(SHIPPED, OMEGA).replace(ONCE, TWICE).replace("rate = 0.5\n", "rate = 20\n")
    path.write_text(text, "utf-8")
    return load_sources(folder)["our_omega"]


def ask(loaded: LoadedSource, keyword: str, page: int = 1) -> Done:
    """Ask over the wire as a run does."""
    task = Task(keyword, page)
    request = plan_request(task, make_batch([keyword], source="our_omega"), loaded.source, "serpline/test")

    async def send() -> Done:
        client = AiohttpClient()
        response = await client.send(request, loaded.source.spec.limits)
        await client.close()
        judged = judge_response(task, loaded.source, loaded.extractor, response, time.time())
        assert isinstance(judged, Done), judged
        return judged

    done = asyncio.run(send())
    assert done.status == "ok", done
    return done


def test_the_feed_gives_every_page_once_with_ranks_total_and_text(omega: str, copied: LoadedSource):
    """Three pages of a question: 25 rows, ranked as the engine ranks, links made absolute."""
    answers = [ask(copied, "lamp", page) for page in (1, 2, 3)]
    assert [answer.total for answer in answers] == [25] * 3
    rows = [row for answer in answers for row in answer.results]
    assert [row.rank for row in rows] == list(range(1, 26))
    assert {row.title for row in rows} == {title for title in PAGES if "lamp" in title}
    assert len({row.url for row in rows}) == 25
    assert all(row.url.startswith(f"{omega}/pages/page%20") for row in rows)
    by_title = {row.title: row for row in rows}
    assert by_title["Harbour lamp 7"].snippet.startswith(
        "Lamp 7 burns on pier 0; its keeper counts < 7 ships & sleeps."
    )


def test_titles_and_texts_of_any_script_come_whole(copied: LoadedSource):
    rows = {row.title: row for row in ask(copied, "gulls").results}
    assert set(rows) >= {"Gulls & sons", "Brücke (Ort)", "灯台"}
    assert len(rows) == 4
    assert rows["灯台"].snippet.startswith("灯台 is Japanese for lighthouse, gulls sit on it.")


@pytest.mark.parametrize(
    "keyword", ["zebra", "x" * 500, "日本", "}{$if{1,2}", "<b>&amp;", '"no such phrase"']
)
def test_nothing_found_is_empty_and_ok(copied: LoadedSource, keyword: str):
    """Words the engine does not know, and words that are its template's own language."""
    assert ask(copied, keyword).results == ()


def test_a_run_asks_a_copied_source(copied: LoadedSource, tmp_path: Path):
    """From a list to the lake."""
    assert copied.source.name == "our_omega"
    words = tmp_path / "list.txt"
    words.write_text("gulls\nropes\nzebra\n灯台\n")
    lake = tmp_path / "lake"
    assert main(["run", str(words), "--source", "our_omega", "--lake", str(lake)]) == 0
    found = {row[0]: (row[1], len(row[2])) for row in table_rows(lake, "keyword", "status", "results")}
    assert found == {"gulls": ("ok", 4), "ropes": ("ok", 1), "zebra": ("ok", 0), "灯台": ("ok", 1)}
