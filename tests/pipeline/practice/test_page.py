"""How a results page reads."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipeline.practice.index import Index
from pipeline.practice.page import ask, find, results_page

QUESTION = "how to read a csv file with a header"


def read(index: Index, query: str = QUESTION, **parameters: str) -> LexborHTMLParser:
    return LexborHTMLParser(results_page(index, ask(query, **parameters)))


def one(node: LexborNode | LexborHTMLParser, selector: str) -> LexborNode:
    (found,) = node.css(selector)
    return found


def target(hit: LexborNode) -> str:
    return parse_qs(urlsplit(one(hit, "a.hit-link").attributes["href"] or "").query)["target"][0]


def test_a_page_weighs_what_a_real_one_weighs(index: Index):
    assert 60_000 <= len(results_page(index, ask(QUESTION))) <= 100_000


def test_every_hit_can_be_read(index: Index):
    """Title, address behind a redirect link, displayed address, snippet: as the index gave them, in order."""
    page = read(index, page="2")
    _, hits = find(index, ask(QUESTION, page="2"))
    nodes = page.css("#results > div.hit")
    assert len(nodes) == len(hits) == 10
    for position, (node, hit) in enumerate(zip(nodes, hits, strict=True), start=11):
        link = one(node, "a.hit-link").attributes["href"] or ""
        assert one(node, "h3").text() == hit.title
        assert link.startswith("/url?target=https%3A%2F%2Fdocs.python.example%2F3%2F")
        assert target(node) == hit.link
        assert parse_qs(urlsplit(link).query)["pos"] == [str(position)]
        assert one(node, "cite").text().startswith("docs.python.example \u203a 3 \u203a library")
        assert one(node, ".hit-words").text() == hit.snippet
        assert one(node, ".hit-kind").text() == hit.kind


def test_words_of_the_question_are_emphasised(index: Index):
    assert "csv" in {node.text().lower() for node in read(index).css(".hit-words em")}


def test_what_is_not_a_result_has_headings_and_links_too(index: Index):
    page = read(index)
    assert len(page.css("div.ad h3")) == len(page.css("div.ad a.ad-link")) == 3
    assert page.css("div.box.questions a")
    assert page.css("aside .related a")
    assert page.css("aside .panel h2")
    assert not page.css(".ad .hit, .box .hit, aside .hit")


def test_the_total_is_told(index: Index):
    total, _ = find(index, ask(QUESTION))
    told = re.fullmatch(r"About ([\d,]+) results", one(read(index), "#stats").text())
    assert told
    assert int(told[1].replace(",", "")) == total > 1000


def test_next_leads_through_ten_pages_and_no_further(index: Index):
    seen, page = set[str](), read(index)
    for number in range(1, 11):
        assert one(page, "nav.pages b").text() == str(number)
        seen |= {target(node) for node in page.css("#results > div.hit")}
        following = page.css("a.next")
        if following:
            query = parse_qs(urlsplit(following[0].attributes["href"] or "").query)
            page = read(index, query["q"][0], page=query["page"][0], hl=query["hl"][0])
    assert not following
    assert len(seen) == 100


def test_nothing_found_is_said_so_and_looks_like_nothing_else(index: Index):
    page = read(index, "qqxyzzy")
    assert one(page, "#results > div.no-hits")
    assert not page.css(".hit, #stats, .ad, a.next, aside *")
    assert not read(index).css(".no-hits")


def test_a_page_past_the_last_has_no_hits(index: Index):
    assert one(read(index, page="11"), "#results > div.no-hits")
    assert one(read(index, "deepcopy", page="9"), "#results > div.no-hits")


@pytest.mark.parametrize(("start", "page"), [("0", "1"), ("10", "2"), ("19", "2"), ("90", "10")])
def test_start_is_another_word_for_page(start: str, page: str):
    assert ask("q", start=start) == ask("q", page=page)


@pytest.mark.parametrize("nonsense", ["", "-1", "0", "x", "1.5", "9" * 5000, "٣٣٣٣٣٣"])
def test_a_page_that_is_none_is_the_first(nonsense: str):
    assert ask("q", page=nonsense).page == 1


@pytest.mark.parametrize(
    ("hl", "told"), [("de", "de"), ("pt-BR", "pt-BR"), ("", "en"), ('"><script>', "en"), ("zz" * 40, "en")]
)
def test_the_language_is_echoed(index: Index, hl: str, told: str):
    assert one(read(index, hl=hl), "html").attributes["lang"] == told


def test_the_same_question_gives_the_same_bytes(index: Index):
    assert results_page(index, ask(QUESTION)) == results_page(index, ask(QUESTION))


HOSTILE = ['"><script>alert(1)</script>', "' onload=x", "</title><b>", "&lt;", "{shown}%s", "\ud800"]


@given(query=st.one_of(st.text(), st.sampled_from(HOSTILE)))
@settings(max_examples=80, deadline=None)
def test_no_question_escapes_into_the_markup(index: Index, query: str):
    """The question is text in the title and a value in the field: it adds no element and no attribute."""
    page = read(index, query)
    tame = read(index, "qqxyzzy" if page.css(".no-hits") else QUESTION)
    names = {(node.tag, name) for node in page.css("*") for name in node.attributes}
    assert names <= {(node.tag, name) for node in tame.css("*") for name in node.attributes}
    assert len(page.css("script")) == 2
    value = one(page, "form.ask input[name=q]").attributes["value"] or ""
    # NUL and carriage returns become others by HTML's own rules, wherever they come from.
    if not set(query) & {"\0", "\r"}:
        assert value == ask(query).query
