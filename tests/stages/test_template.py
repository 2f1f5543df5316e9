"""A keyword fills one slot and nothing else, whatever it is."""

import re
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.fetch import plan_request
from stages.records import Request, Task
from stages.template import SLOTS, fill, parse_template
from tests.stages.kit import BATCH, source_of

KEYWORDS = st.one_of(
    st.text(),
    st.text(st.characters()),
    st.text(st.sampled_from("{}&#%?=/\\.@:+\"'\r\n \0\ud800é日")),
    st.sampled_from(["..", "../..", "{base_url}", "{{page}}", "a&page=9", "\r\nX-Evil: 1", "%2e%2e", "#"]),
)
GET = source_of(request='url = "{base_url}/s?hl={language}&q={keyword}&page={page}#top"')
FORM = source_of(
    request='url = "{base_url}/s"\nmethod = "POST"\nbody = "hl={language}&q={keyword}&page={page}"'
)
JSON = source_of(
    request='url = "{base_url}/s"\nmethod = "POST"\nbody_format = "json"\n'
    'body = \'{{"a":{{"q":"{keyword}","n":{page}}},"hl":["{locale}"]}}\''
)


def asked(source: object, keyword: str) -> Request:
    """The request for a keyword."""
    return plan_request(Task(keyword, 2), BATCH, source, "Test/1 (+mailto:a@b.example)")  # type: ignore[arg-type]  # a source


def readable(keyword: str) -> str:
    """The keyword; half a surrogate cannot be sent and becomes a question mark."""
    return keyword.encode("utf-8", "replace").decode()


@given(KEYWORDS)
@example("\ud800")
def test_a_url_keeps_everything_but_its_slot(keyword: str):
    """Scheme, host, path and the other parameters stay; decoding the slot gives the keyword back."""
    url = asked(GET, keyword).url
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("http", "127.0.0.1:8650", "/s", "top")
    assert parse_qsl(parts.query, keep_blank_values=True) == [
        ("hl", "en"),
        ("q", readable(keyword)),
        ("page", "2"),
    ]
    assert re.fullmatch(r"[!-~]+", url)


@given(KEYWORDS)
def test_a_form_keeps_everything_but_its_slot(keyword: str):
    body = asked(FORM, keyword).body
    assert body is not None
    pairs = [pair.split("=") for pair in body.decode("ascii").split("&")]
    assert [(name, unquote(value)) for name, value in pairs] == [
        ("hl", "en"),
        ("q", readable(keyword)),
        ("page", "2"),
    ]


@given(KEYWORDS)
def test_a_json_body_stays_json_with_one_string_changed(keyword: str):
    body = asked(JSON, keyword).body
    assert body is not None
    assert orjson.loads(body) == {"a": {"q": readable(keyword), "n": 2}, "hl": ["en-US"]}


@given(KEYWORDS)
def test_no_keyword_reaches_a_header_or_the_address_of_a_post(keyword: str):
    for source in (GET, FORM, JSON):
        here, plain = asked(source, keyword), asked(source, "python")
        assert here.headers == plain.headers
        assert here.method == plain.method
    assert asked(JSON, keyword).url == asked(JSON, "python").url


@given(st.text())
def test_doubled_braces_are_braces(text: str):
    """What has no slots comes out as it went in."""
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert fill(parse_template(doubled, "x"), {}, "url") == text


@given(st.lists(st.sampled_from(SLOTS)), st.text("ab&=/?"))
def test_each_slot_gets_its_own_value(slots: list[str], text: str):
    template = parse_template(text.join(f"{{{slot}}}" for slot in slots), "x")
    assert fill(template, {slot: slot for slot in SLOTS}, "url").replace("%5F", "_") == text.join(slots)


@pytest.mark.parametrize("text", ["{query}", "{}", "{ keyword }", "{Keyword}", "a{base_url.__class__}"])
def test_an_unknown_slot_is_refused_with_the_known_ones(text: str):
    with pytest.raises(ValueError, match=r"Expected a slot of base_url, keyword.* at `\$\.request\.url`"):
        parse_template(text, "request.url")


def test_paging_says_page_offset_and_size_in_the_engines_own_count():
    source = source_of(
        request='url = "{base_url}/s?q={keyword}&p={page}&start={offset}&n={size}&gl={country}&d={device}"',
        paging="size = 20\nmost = 5\nfirst = 0",
    )
    assert asked(source, "a").url.endswith("/s?q=a&p=1&start=20&n=20&gl=US&d=desktop")


def test_a_locale_without_a_country_leaves_the_country_empty():
    batch = msgspec.structs.replace(BATCH, locale="de")
    source = source_of(request='url = "{base_url}/s?q={keyword}&hl={language}&gl={country}"')
    assert plan_request(Task("a"), batch, source, "T").url.endswith("q=a&hl=de&gl=")


def test_a_header_of_the_source_takes_the_place_of_ours_in_any_case():
    """One value a header goes out, not two that contradict each other."""
    source = source_of(
        request='url = "{base_url}/s"\nmethod = "POST"\nbody = "q={keyword}"\n'
        'headers = { content-type = "text/plain", Accept-Language = "en" }'
    )
    headers = asked(source, "a").headers
    assert sorted(name.lower() for name in headers) == [
        "accept-encoding",
        "accept-language",
        "content-type",
        "user-agent",
    ]
    assert headers["content-type"] == "text/plain"
