"""Kinds of results: what stands on a page beside its results is read as what it is, and ranks stay."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest

from pipeline.golden import golden_cases
from pipeline.practice.index import Index
from pipeline.practice.page import ask, results_page
from pipeline.source_files import load_sources
from stages.fetch import Done, judge_response
from stages.records import Response, Result, Task
from stages.source_spec import KINDS

SHIPPED = load_sources(None)
URL = "http://127.0.0.1:8650/search?q=x"


def read(index: Index, source: str, keyword: str, page: int = 1) -> tuple[Result, ...]:
    """What a source reads from the page that the practice engine serves for a keyword."""
    loaded = SHIPPED[source]
    body = results_page(index, ask(keyword, page=str(page)))
    answer = Response(200, {"content-type": "text/html; charset=utf-8"}, body, URL)
    judged = judge_response(Task(keyword, page), loaded.source, loaded.extractor, answer, 0.0)
    assert isinstance(judged, Done)
    assert judged.status == "ok"
    return judged.results


@pytest.mark.parametrize(("keyword", "page"), [("read a csv file", 1), ("read a csv file", 2), ("json", 1)])
def test_ads_and_questions_are_kinds_of_their_own(index: Index, keyword: str, page: int):
    """Three ads and four questions beside ten results, which keep the ranks they have without them."""
    rows = read(index, "practice_kinds", keyword, page)
    assert Counter(row.kind for row in rows) == {"organic": 10, "ad": 3, "question": 4}
    organic = tuple(row for row in rows if row.kind == "organic")
    assert organic == read(index, "practice_page", keyword, page)
    assert [row.rank for row in organic] == list(range(10 * page - 9, 10 * page + 1))


def test_an_ad_is_read_with_where_it_leads_and_a_question_with_what_it_asks(index: Index):
    """No redirect of the engine's own stands in a row: an ad's target is behind it."""
    rows = read(index, "practice_kinds", "read a csv file")
    for row in rows:
        assert row.title
        if row.kind == "ad":
            assert row.domain.endswith(".example")
            assert row.url == f"https://{row.domain}/"
            assert row.snippet
        elif row.kind == "question":
            assert row.title.startswith("What is ")
            assert row.url.startswith("http://127.0.0.1:8650/search?q=what+is+")


def test_nothing_found_has_no_kinds(index: Index):
    assert read(index, "practice_kinds", "zzqxw vvkjq") == ()


def test_every_kind_is_read_by_a_shipped_source():
    """Whoever needs one finds a file to begin with, and an answer that holds it."""
    found: Counter[str] = Counter()
    for loaded in SHIPPED.values():
        for case in golden_cases(loaded):
            assert case.expected is not None
            rows = orjson.loads(case.expected.read_bytes()).get("results", [])
            found.update(row.get("kind", "organic") for row in rows)
    assert set(found) == set(KINDS)


def test_the_practice_engines_golden_page_is_as_heavy_as_it_serves_them():
    """What is kept has the navigation, the ads and the boxes around the results, not only the results."""
    for name in ("practice_page", "practice_kinds"):
        [full] = [case for case in golden_cases(SHIPPED[name]) if case.name == "full"]
        assert full.body is not None
        body = full.body.read_bytes()
        assert 60_000 <= len(body) <= 100_000
        assert body.count(b'class="ad"') == 3
        assert b"People also ask" in body
