"""The same rows, whatever language an answer is written in, and a quick end with what is hostile."""

import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.aggregate import page_batch
from stages.extract import MAX_RANK, MAX_TOTAL, Extracted, domain
from stages.records import Malformed, Page, Task
from stages.staged import decode_staged, encode_staged
from tests.stages.kit import BATCH, CSS, URL, extracted

FIELDS = """
[[answer.results]]
rows = "{rows}"
[answer.results.fields]
title = "{title}"
url = {url}
snippet = "{snippet}"
"""
ANSWERS = {
    "css": CSS,
    "xpath": 'language = "xpath"\ntotal = "//b[@id=\'count\']"'
    + FIELDS.format(rows="//div[@class='hit']", title="h3", url='"a/@href"', snippet="p"),
    "xml": 'language = "xml"\ntotal = "/page/b"'
    + FIELDS.format(
        rows="/page/div", title="h3", url='{ select = "a", attribute = "href" }', snippet="string(p)"
    ),
    "json": 'language = "json"\ntotal = "meta.total"'
    + FIELDS.format(rows="items", title="title", url='"link.href"', snippet="words[0]"),
}
MARKUP = """<page><b id="count">About 1,234 results (0.45 s)</b>
<div class="hit"><h3>One &amp;  <i>only</i></h3><a href="/one?a=1&amp;b=2">x</a><p>first  words</p></div>
<div class="hit"><h3>Zwei</h3><a href="https://www.Other.example:8443/2">x</a></div>
<div class="hit"><p>neither title nor link</p></div>
<div class="hit"><a href="../up">x</a><p>日本語 👩</p></div></page>"""
JSON = """{"meta": {"total": 1234.0}, "items": [
{"title": "One &  only", "link": {"href": "/one?a=1&b=2"}, "words": ["first  words"]},
{"title": "Zwei", "link": {"href": "https://www.Other.example:8443/2"}, "words": null},
{"words": ["neither title nor link"]}, null, 5,
{"title": null, "link": {"href": "../up"}, "words": ["日本語 👩"]}]}"""


def body_for(language: str) -> bytes:
    """The small answer in a language."""
    return (JSON if language == "json" else MARKUP).encode()


@pytest.mark.parametrize("language", ANSWERS)
def test_every_language_gives_the_same_rows(language: str):
    """Relative addresses made absolute, missing fields empty, rows without title and link left out."""
    found = extracted(ANSWERS[language], body_for(language), first_rank=11)
    host = "127.0.0.1"
    assert [(r.rank, r.kind, r.title, r.url, r.domain, r.snippet) for r in found.results] == [
        (11, "organic", "One & only", f"http://{host}:8650/one?a=1&b=2", host, "first words"),
        (12, "organic", "Zwei", "https://www.Other.example:8443/2", "other.example", ""),
        (13, "organic", "", f"http://{host}:8650/up", host, "日本語 👩"),
    ]
    assert found.total == 1234


def css_with(url: str = '"a"', extra: str = "") -> str:
    """CSS rules with a rule for the address, and more fields."""
    return (
        f'language = "css"\n[[answer.results]]\nrows = "li"\n[answer.results.fields]\nurl = {url}\n{extra}\n'
    )


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("/r?target=https%3A%2F%2Fa.example%2F%3Fx%3D1%26y%3D2&amp;s=1", "https://a.example/?x=1&y=2"),
        ("/r?s=1&amp;target=https%3A%2F%2Fa.example%2F#frag", "https://a.example/"),
        ("/r?target=https%3A%2F%2Fa.example%2F%3Fq%3Da+b%252Bc", "https://a.example/?q=a b%2Bc"),
        ("/r?target=%2Finner", "http://127.0.0.1:8650/inner"),
        ("/r?nottarget=https%3A%2F%2Fa.example", "http://127.0.0.1:8650/r?nottarget=https%3A%2F%2Fa.example"),
        ("https://a.example/plain", "https://a.example/plain"),
        ("//[nonsense", "//[nonsense"),
        ("//evil\u2100.example/", "//evil\u2100.example/"),
    ],
)
def test_a_redirect_link_gives_its_target(href: str, url: str):
    """Decoded once, without its other parameters; another link stays, and nonsense harms nothing."""
    rules = css_with('{ select = "a", attribute = "href", transforms = ["redirect:target", "absolute"] }')
    (result,) = extracted(rules, f'<ul><li><a href="{href}">x</a></li></ul>'.encode()).results
    assert result.url == url


def test_values_are_transformed_joined_and_ranked_as_the_rules_say():
    rules = css_with(
        '"a"',
        'title = { select = "b", transforms = ["join"] }\nrank = "i"\n'
        'snippet = { select = "p", transforms = ["regex:by (\\\\w+)"] }',
    )
    body = b"<li><b>one</b><b>two</b><i>No. 7</i><p>written by Ann</p></li><li><b>x</b><i>?</i><p>-</p></li>"
    assert [(r.rank, r.title, r.snippet) for r in extracted(rules, body).results] == [
        (7, "one two", "Ann"),
        (2, "x", ""),
    ]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("plain words", "plain words"),
        ("", ""),
        ("1 < 2 > 0", "1 < 2 > 0"),
        ("<span class='hit'>Tide</span>s &amp; &#x27;birds&#39; &lt;b&gt;", "Tides & 'birds' <b>"),
        ("<p>one</p><p>two<br/>three</p>", "one two three"),
        ("an open <em>tag and a cut &amp", "an open tag and a cut &"),
        ("<!-- no --> words", "words"),
    ],
)
def test_a_snippet_in_markup_becomes_the_text_it_shows(markup: str, text: str):
    """As APIs give it within JSON: tags go, entities are read, lines stay apart."""
    answer = ANSWERS["json"].replace('"words[0]"', '{ select = "s", transforms = ["text"] }')
    found = extracted(answer, orjson.dumps({"items": [{"title": "t", "s": markup}]}))
    assert found.results[0].snippet == text


def test_a_snippet_nested_without_end_ends_quickly():
    """The time that markup within JSON may take is bounded as a page's is."""
    answer = ANSWERS["json"].replace('"words[0]"', '{ select = "s", transforms = ["text"] }')
    started = time.perf_counter()
    with pytest.raises(Malformed):
        extracted(answer, orjson.dumps({"items": [{"title": "t", "s": "<div>" * 100_000}]}))
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("transforms", "text", "title"),
    [
        ('"strip"', "  One  ", "One"),
        ('"regex:^[^|]*\\\\|(.*)", "strip"', "Site | One ", "One"),
        ('"regex:^(.*)\\\\|", "strip"', "One | Site", "One"),
        ('"strip: »|"', "» One |", "One"),
        ('"strip"', "", ""),
    ],
)
def test_what_surrounds_a_value_is_taken_off(transforms: str, text: str, title: str):
    """White space, also what another transform leaves, or the characters that a rule names."""
    answer = ANSWERS["json"].replace('"title"', f'{{ select = "title", transforms = [{transforms}] }}')
    body = orjson.dumps({"meta": {}, "items": [{"title": text, "link": {"href": "/1"}}]})
    assert [result.title for result in extracted(answer, body).results] == [title]


@pytest.mark.parametrize(
    ("title", "path"),
    [
        ("Lamp", "/wiki/Lamp"),
        ("AC/DC: (band)?", "/wiki/AC/DC:_(band)%3F"),
        ('C++ & "x" #1', "/wiki/C%2B%2B_%26_%22x%22_%231"),
        ("Brücke", "/wiki/Br%C3%BCcke"),
        ("//evil.example", "/wiki///evil.example"),
    ],
)
def test_a_title_becomes_the_link_of_its_page(title: str, path: str):
    """It fills the path behind the prefix; the host stays the page's."""
    answer = ANSWERS["json"].replace('"link.href"', '{ select = "title", transforms = ["link:/wiki/"] }')
    found = extracted(answer, orjson.dumps({"items": [{"title": title}]}))
    assert found.results[0].url == f"http://127.0.0.1:8650{path}"


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("About 1,234,567 results (0.45 seconds)", 1_234_567),
        ("1.234.567 Ergebnisse", 1_234_567),
        ("1\u202f234\u00a0567 résultats", 1_234_567),
        ("1 234 567 результатов", 1_234_567),
        ("1\u2019234\u2019567 Treffer", 1_234_567),
        ("12,34,567", 1_234_567),
        ("\u0661\u066c\u0662\u0663\u0664 نتيجة", 1_234),
        ("0 results", 0),
        ("no results", None),
        ("", None),
        ("9" * 18, 10**18 - 1),
        ("9" * 20, None),
        ("9" * 100_000, None),
    ],
)
def test_a_total_is_read_in_many_notations(text: str, total: int | None):
    """A number that no column holds is none: it would stop the whole batch on its way to the table."""
    found = extracted(CSS, f'<p id="count">{text}</p><div class="hit"><h3>x</h3></div>'.encode())
    assert found.total == total


@pytest.mark.parametrize(
    ("value", "total"), [("1234", 1234), ("1234.0", 1234), ('"1,234"', 1234), ("null", None)]
)
def test_a_json_total_may_be_a_number_or_a_text(value: str, total: int | None):
    body = f'{{"meta": {{"total": {value}}}, "items": [{{"title": "x"}}]}}'.encode()
    assert extracted(ANSWERS["json"], body).total == total


def test_an_xpath_count_is_a_whole_number():
    rules = ANSWERS["xpath"].replace("//b[@id='count']", "count(//div)")
    assert extracted(rules, body_for("xpath")).total == 4


@given(st.text(st.characters(categories=["Nd"]), max_size=30), st.text("0123456789", max_size=30))
def test_numbers_an_answer_names_fit_into_the_table(total: str, rank: str):
    rules = css_with('"a"', 'title = "b"\nrank = "i"').replace("[[", 'total = "u"\n[[', 1)
    body = f"<u>{total}</u><li><b>x</b><i>{rank}</i></li>".encode()
    found = extracted(rules, body)
    assert found.total is None or found.total <= MAX_TOTAL
    assert found.results[0].rank <= MAX_RANK
    page = Page(Task("k"), 1, "ok", "", 200, 1.0, 2.0, 3, 4, URL, found.total, found.results)
    assert page_batch(decode_staged(encode_staged(BATCH, [page], lane="a"))).num_rows == 1


MARKS = """
[answer.refused]
select = ["#captcha"]
text = ["unusual traffic"]
[answer.empty]
select = ["#none"]
"""


@pytest.mark.parametrize(
    ("body", "refused", "empty"),
    [
        (b"<form id=captcha></form>", True, False),
        (b"<p>We see unusual traffic.</p>", True, False),
        (b"<p id=none>nothing found</p>", False, True),
        (b"<p>something else</p>", False, False),
        (
            b"<div class=hit><h3>how to solve unusual traffic</h3></div><p id=none><p id=captcha>",
            False,
            False,
        ),
    ],
)
def test_marks_count_only_where_there_are_no_results(body: bytes, refused: bool, empty: bool):  # noqa: FBT001  # a row of the table above
    """A result that quotes the words of a refusal is a result."""
    found = extracted(CSS + MARKS, body)
    assert (found.refused, found.empty) == (refused, empty)


@pytest.mark.parametrize(
    ("body", "empty"), [(b'{"items": []}', True), (b'{"items": null}', False), (b"{}", False)]
)
def test_a_json_expression_marks_an_empty_answer(body: bytes, empty: bool):  # noqa: FBT001  # a row of the table above
    assert extracted(ANSWERS["json"] + '[answer.empty]\nselect = ["items == `[]`"]', body).empty is empty


def test_an_expression_over_what_is_missing_finds_nothing():
    """A JMESPath function over null is no error of the page: the other fields stay."""
    rules = ANSWERS["json"].replace("words[0]", "join(', ', words)").replace("meta.total", "length(none)")
    found = extracted(rules, body_for("json"))
    assert [(result.title, result.snippet) for result in found.results][:2] == [
        ("One & only", "first words"),
        ("Zwei", ""),
    ]
    assert found.total is None


BOMB = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "aaaaaaaaaa"}">' for n in range(12))


def page(entities: str, title: str) -> bytes:
    """A page with one row and a document type of its own."""
    row = f'<div class="hit"><h3>{title}</h3></div>'
    return f'<?xml version="1.0"?><!DOCTYPE p [{entities}]><page>{row}</page>'.encode()


HOSTILE = {
    "nested": b"<div>" * 100_000,
    "nested, wrongly closed": b"<div></x>" * 100_000,
    "nested in a row": b'<div class="hit"><h3>' + b"<div>" * 100_000 + b"x",
    "brackets": b"[" * 100_000,
    "json nested": b'{"items":' * 100_000,
    "entities": page(BOMB, "&a11;"),
    "file": page('<!ENTITY f SYSTEM "file:///etc/passwd">', "&f;"),
    "NULs": b"\0" * 1_000_000,
    "NUL in a row": b'<page><div class="hit"><h3>a\0b</h3></div></page>',
    "half a surrogate": b'<page><div class="hit"><h3>a&#xD800;b</h3></div></page>',
    "json surrogate": b'{"items": [{"title": "a\\ud800"}]}',
    "nothing": b"",
    "blank": b" \n ",
    "unclosed": b"<div class='hit'><h3",
    "angle brackets": b"<" * 500_000,
    "numbers": b'{"items": 5, "meta": {"total": 1e999}}',
    "wrong types": b'{"items": {"title": ["x"]}, "meta": []}',
}


@pytest.mark.parametrize("language", ANSWERS)
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("ignore:Input data is too big")
def test_a_hostile_answer_ends_quickly_and_harms_nothing(language: str, kind: str):
    """Malformed, or rows of little text: never another error, a file's content, or minutes of work."""
    started = time.process_time()
    try:
        found = extracted(ANSWERS[language], HOSTILE[kind])
    except Malformed:
        found = Extracted((), None)
    assert time.process_time() - started < 1.5
    assert sum(len(result.title) for result in found.results) < 1_000
    assert "root:" not in str(found.results)
    str(found.results).encode()


@given(st.binary(max_size=300), st.sampled_from(sorted(ANSWERS)))
def test_any_bytes_give_rows_or_malformed(noise: bytes, language: str):
    """What arrives here is valid UTF-8, and anything else about it may be wrong."""
    text = noise.decode("utf-8", "replace")
    for body in (text, MARKUP.replace("Zwei", text), JSON.replace("Zwei", text)):
        try:
            extracted(ANSWERS[language], body.encode())
        except Malformed:
            continue


def test_rows_that_are_texts_make_the_page_unreadable_and_no_crash():
    with pytest.raises(Malformed):
        extracted(ANSWERS["xpath"].replace("//div[@class='hit']", "//a/@href"), body_for("xpath"))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://www.Example.com/a?b#c", "example.com"),
        ("http://user:pw@example.com:80?x", "example.com"),
        ("http://[2001:db8::1]:80/", "[2001:db8::1]:80"),
        ("https://münchen.example/", "münchen.example"),
        ("mailto:a@b.example", ""),
        ("/relative", ""),
        ("", ""),
    ],
)
def test_the_domain_of_an_address(url: str, host: str):
    assert domain(url) == host
