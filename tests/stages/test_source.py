"""A source file is checked whole, and what is wrong is named by its path."""

import pytest

from stages.extract import MAX_RANK, compile_rules
from stages.records import Malformed
from stages.source import Limits, Source, SourceError, parse_source
from stages.source_checks import MOST_ON_A_PAGE, MOST_PAGES
from tests.stages.kit import CSS, source_of, source_text

KEYED = 'url = "{base_url}/s?q={keyword}"\nheaders = { X = "{secret:K}" }'
POST = 'url = "{base_url}/s"\nmethod = "POST"\nbody_format = "json"\n'


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"request": 'url = "https://evil.example/?q={keyword}"'}, "request.url"),
        ({"request": 'url = "{base_url}.evil.example/?q={keyword}"'}, "request.url"),
        ({"request": 'url = "{base_url}/s?q=python"'}, "request"),
        ({"request": 'url = "{base_url}/s?q={keyword}&x={keyword}"'}, "request"),
        ({"request": 'url = "{base_url}/s?q={{keyword}}"'}, "request"),
        ({"request": 'url = "{base_url}/{keyword}"'}, "request.url"),
        ({"request": 'url = "{base_url}/#?q={keyword}"'}, "request.url"),
        ({"request": 'url = "{base_url}/s?q={query}"'}, "request.url"),
        ({"request": 'url = "{base_url}/s"\nbody = "{query}{keyword}"'}, "request.body"),
        ({"request": 'url = "{base_url}/s?q={keyword}"\nheaders = { X = "{keyword}" }'}, "request.headers.X"),
        ({"request": KEYED.replace("{secret:K}", "{secret:k}")}, "request.headers.X"),
        ({"request": KEYED.replace("{secret:K}", "{secret:K} {keyword}")}, "request.headers.X"),
        ({"request": KEYED.replace("{secret:K}", "{secret:K}\\r\\nY: 1")}, "request.headers.X"),
        *(
            (
                {"request": f'url = "{{base_url}}/s?q={{keyword}}"\nheaders = {{ "{name}" = "x" }}'},
                f"request.headers.{name}".strip(),
            )
            for name in (
                "User-Agent",
                "user-agent",
                "HOST",
                "Content-Length",
                "Transfer-Encoding",
                "Connection",
                "X Y",
                "",
                "X:Y",
                "User-Agent ",
                "Ü",
            )
        ),
        ({"request": 'url = "{base_url}/s?q={keyword}&key={secret:K}"'}, "request.url"),
        ({"request": 'url = "{base_url}/s"\nbody = "q={keyword}&key={secret:K}"'}, "request.body"),
        ({"request": 'url = "{base_url}/s?q={keyword}"\nmethod = "PUT"'}, "request.method"),
        ({"request": POST + "body = '{{\"q\": {keyword}}}'"}, "request.body"),
        ({"request": POST + 'body = \'{"a":{"q":"{keyword}"}}\''}, "request.body"),
        ({"politeness": "rate = 0"}, "politeness.rate"),
        ({"politeness": "rate = nan"}, "politeness.rate"),
        ({"politeness": "rate = inf"}, "politeness.rate"),
        ({"politeness": "rate = 1\nburst = 0"}, "politeness.burst"),
        ({"politeness": "rate = 1\nrest = 10\nmax_rest = 5"}, "politeness.max_rest"),
        *(
            ({"politeness": f"rate = 1\n{name} = {value}"}, f"politeness.{path}")
            for name, path in (("rest", "rest"), ("max_rest", "max_rest"), ("max_closed", "max_closed"))
            for value in ("nan", "inf", "-1", "1e9")
        ),
        *(({"limits": f"timeout = {value}"}, "limits.timeout") for value in ("nan", "inf", "-1", "0", "1e5")),
        ({"answer": CSS + "\n[answer.failed]\nstatus = [418]"}, "answer.failed.status"),
        *(
            ({"answer": f"{CSS}\n[answer.{name}]\nstatus = [404, {status}]"}, f"answer.{name}.status[1]")
            for name in ("empty", "refused")
            for status in (0, 200, 999)
        ),
        ({"politeness": 'rate = "fast"'}, "politeness.rate"),
        ({"politeness": "rates = 1"}, "politeness"),
        ({"limits": "bytes = 1"}, "limits.bytes"),
        *(
            ({"limits": f"{name} = {value}"}, f"limits.{name}`")
            for name in ("attempts", "refusals")
            for value in (0, 11)
        ),
        *(
            ({"paging": f"{name} = {value}"}, f"paging.{name}`")
            for name, values in (
                ("size", (0, -1, 10_001, 3_000_000_000)),
                ("most", (0, -1, 10_001, 3_000_000_000)),
                ("first", (-5, -1, 10_001)),
            )
            for value in values
        ),
        *(
            ({"request": f'url = "{{base_url}}/s{blank}?q={{keyword}}"'}, "request.url`")
            for blank in (" ", "\\t", "\\n", "\\r\\n", "\\u0000", "\\u007f", "\\u00a0", "\u00fc")
        ),
        ({"answer": CSS.replace("css", "regex")}, "answer.language"),
        ({"answer": CSS.replace("snippet =", "text =")}, "answer.results[0].fields.text"),
        ({"answer": CSS.replace('"h3"', '{ select = "a", transforms = ["upper"] }')}, "fields.title.transf"),
        ({"answer": CSS.replace('"h3"', '{ select = "a", transforms = ["regex:(("] }')}, "fields.title.tra"),
        ({"answer": CSS.replace('"h3"', '{ select = "a", transforms = ["regex:a"] }')}, "fields.title.tran"),
        ({"answer": CSS.replace('"h3"', '{ select = "a", transforms = ["redirect"] }')}, "fields.title.tr"),
        ({"answer": CSS.replace('"h3"', '{ select = "a", transforms = ["link"] }')}, "fields.title.tr"),
    ],
)
def test_a_wrong_field_is_refused_with_its_path(changed: dict[str, str], path: str):
    with pytest.raises(SourceError) as refused:
        source_of(**changed)
    assert f"$.{path}" in str(refused.value).replace("$.answer.results[0].fields.title", "$.fields.title")


@pytest.mark.parametrize(
    ("language", "selector"),
    [
        ("css", "div[["),
        ("css", "div:nonsense(x)"),
        ("xpath", "//div["),
        ("xpath", "//nowhere:div"),
        ("xpath", "nonsense(//div)"),
        ("xml", "//div[@"),
        ("json", "items["),
        ("json", "nonsense(items)"),
    ],
)
def test_a_wrong_selector_is_refused_with_the_path_of_its_rule(language: str, selector: str):
    """When the source is loaded, not when the first answer comes."""
    answer = f"language = '{language}'\n[[answer.results]]\nrows = '{selector}'\nfields = {{ title = 'a' }}"
    with pytest.raises(SourceError, match=r"`\$\.answer\.results\[0\]\.rows`"):
        compile_rules(source_of(answer).spec.answer)
    answer = f"language = '{language}'\n[[answer.results]]\nrows = 'a'\nfields = {{ title = '{selector}' }}"
    with pytest.raises(SourceError, match=r"`\$\.answer\.results\[0\]\.fields\.title`"):
        compile_rules(source_of(answer).spec.answer)
    answer = answer.replace(selector, "a") + f"\n[answer.refused]\nselect = ['{selector}']"
    with pytest.raises(SourceError, match=r"`\$\.answer\.refused\.select`"):
        compile_rules(source_of(answer).spec.answer)


@pytest.mark.parametrize(
    "base",
    [
        *("ftp://a.example", "a.example", "http://", "http://[1", "//a.example", ""),
        *("https://me:word@a.example", "https://{keyword}.example", "https://{country}.example"),
        *("https://{secret:K}.example", "https://{base_url}", "https://a.example/{offset}"),
        *("https://a.example/a b", "https://a .example", "https://a.example/\t", " https://a.example"),
    ],
)
def test_a_base_address_must_be_one(base: str):
    with pytest.raises(SourceError, match=r"`\$\.base_url`"):
        parse_source(source_text(), base_url=base)


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a-b", "a" * 41, "../x"])
def test_a_name_is_a_plain_word(name: str):
    """It becomes part of queue names, object keys and partitions."""
    with pytest.raises(SourceError, match=r"`\$\.name`"):
        parse_source(source_text().replace('name = "engine"', f'name = "{name}"'))


def test_text_that_is_no_toml_is_refused():
    with pytest.raises(SourceError):
        parse_source("name = ")


def test_the_hosts_are_the_base_addresss_and_the_allowed_ones():
    text = source_text().replace("kind", 'allowed_hosts = ["WWW.engine.example"]\nkind', 1)
    assert parse_source(text).hosts == {"127.0.0.1:8650", "www.engine.example"}
    assert parse_source(text, base_url="https://Other.example/").hosts == {
        "other.example",
        "www.engine.example",
    }


def localised(locales: str, base: str = "https://{language}.engine.example", default: str = "en") -> Source:
    """A source with a host for each language."""
    head = f'locales = [{locales}]\ndefault_locale = "{default}"\nkind'
    return parse_source(source_text().replace("kind", head, 1), base_url=base)


def test_a_host_for_each_language_is_one_of_those_in_the_file():
    """Which hosts there are is settled when the file is read, whatever a task says later."""
    source = localised('"en", "de-AT", "de-CH"')
    assert source.hosts == {"en.engine.example", "de.engine.example"}
    assert source.base_for("de-AT") == "https://de.engine.example"
    for locale in ("fr", "de", "evil.example/", "../x", ""):
        with pytest.raises(Malformed, match="has no locale"):
            source.base_for(locale)


@pytest.mark.parametrize(
    ("locales", "default", "path"),
    [
        ("", "en", "locales"),
        ('"en.evil"', "en.evil", "locales[0]"),
        ('"en", "a/b"', "en", "locales[1]"),
        ('"en", "EN-us"', "en", "locales[1]"),
        ('"en@x"', "en@x", "locales[0]"),
        ('"de"', "en", "default_locale"),
    ],
)
def test_a_locale_is_one_and_the_default_is_among_them(locales: str, default: str, path: str):
    with pytest.raises(SourceError) as refused:
        localised(locales, default=default)
    assert f"`$.{path}`" in str(refused.value)


def test_a_secret_travels_over_https_or_stays_on_this_machine():
    for base in ("https://a.example", "http://127.0.0.1:8650", "http://localhost:1", "http://[::1]:1"):
        assert parse_source(source_text(request=KEYED), base_url=base).secrets == ("K",)
    for base in ("http://a.example", "http://10.0.0.7", "http://localhost.evil.example"):
        with pytest.raises(SourceError, match=r"https.*`\$\.base_url`"):
            parse_source(source_text(request=KEYED), base_url=base)


def test_the_hash_follows_the_text_of_the_file():
    """A run keeps it, so a changed rule in mid-run is seen."""
    assert source_of().hash == source_of().hash
    assert source_of().hash != source_of(politeness="rate = 2").hash


def test_the_last_rank_of_the_most_pages_fits_its_column():
    """A source may name no page whose counted ranks the table cannot hold: its batch could never be read."""
    assert MOST_ON_A_PAGE * MOST_PAGES + Limits(bytes=100_000_000).bytes < MAX_RANK
    paging = source_of(paging=f"size = {MOST_ON_A_PAGE}\nmost = {MOST_PAGES}\nfirst = 0").spec.paging
    assert (paging.size, paging.most, paging.first) == (MOST_ON_A_PAGE, MOST_PAGES, 0)


def test_an_allowed_host_has_no_blank():
    text = source_text().replace("kind", 'allowed_hosts = ["a.example", "b .example"]\nkind', 1)
    with pytest.raises(SourceError, match=r"`\$\.allowed_hosts\[1\]`"):
        parse_source(text)
