"""A keyword fills one slot and nothing else, whatever it is."""

import re
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.fetch import plan_request
from stages.records import Malformed, Request, Task
from stages.source import parse_source
from stages.template import SLOTS, fill, fill_secrets, mask_secrets, parse_template, secret_names
from tests.stages.kit import BATCH, source_of, source_text

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


HOSTS = "https://{language}.engine.example"
LANGUAGES = 'url = "{base_url}/s?q={keyword}"'
SECRETS = LANGUAGES + '\nheaders = { Key = "Bearer {secret:K}", Accept = "text/plain" }'


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


def test_the_number_of_a_pages_first_result_counts_from_one():
    """Google and OpenSearch count so: 1, 11, 21."""
    source = source_of(request='url = "{base_url}/s?q={keyword}&start={start}"', paging="size = 10\nmost = 5")
    assert asked(source, "a").url.endswith("start=11")


@given(KEYWORDS)
def test_a_keyword_names_no_host_where_the_language_does(keyword: str):
    """The host is the locale's, of those in the file, whatever the keyword is; another locale is an error."""
    head = 'locales = ["en-US", "de"]\nkind'
    source = parse_source(source_text(request=LANGUAGES).replace("kind", head, 1), base_url=HOSTS)
    assert urlsplit(asked(source, keyword).url).netloc == "en.engine.example"
    batch = msgspec.structs.replace(BATCH, locale="de")
    german = plan_request(Task(keyword), batch, source, "T").url
    assert german.startswith("https://de.engine.example/s?q=")
    with pytest.raises(Malformed, match="locale"):
        plan_request(Task(keyword), msgspec.structs.replace(BATCH, locale=keyword + "/"), source, "T")


@given(KEYWORDS, st.text("{}:secretAK_ ", max_size=20))
def test_secrets_fill_their_own_slots_and_nothing_of_a_keywords(keyword: str, text: str):
    """A keyword that looks like a slot is a keyword; what is no name stays as it stands."""
    request = asked(source_of(request=SECRETS), keyword + "{secret:K}")
    assert request.secret_headers == {"Key": "Bearer {secret:K}"}
    assert "secret:K" not in repr(request.headers)
    assert fill_secrets("Bearer {secret:K}", {"K": "v"}) == "Bearer v"
    assert mask_secrets("Bearer {secret:K}, {secret:L}") == "Bearer ***, ***"
    names = secret_names(text)
    assert fill_secrets(text, dict.fromkeys(names, "")) == re.sub(r"\{secret:[A-Z][A-Z0-9_]*\}", "", text)


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
