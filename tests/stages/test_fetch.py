"""What an answer means: for the task, for the source, and for whoever waits."""

import gzip
from email.utils import formatdate

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.fetch import MAX_RETRY_AFTER, Done, Follow, Refused, Retry, followed
from stages.records import Request, Response, Task
from stages.source import parse_source
from tests.stages.kit import CSS, URL, judged, source_of, source_text

NOW = 1_750_000_000.0
GOOD = b'<b id=count>7</b><div class="hit"><h3>One</h3><a href="/1">x</a></div>'
MARKS = """
[answer.empty]
select = ["#none"]
status = [404]
[answer.refused]
text = ["are you human"]
status = [418]
"""
MARKED = source_of(CSS + MARKS)
REDIRECTS = (301, 302, 303, 307, 308)


def answer(status: int = 200, body: bytes = GOOD, url: str = URL, **headers: str) -> Response:
    """A response; header names with ``_`` for ``-``."""
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, url)


def test_a_page_of_results_ends_the_task():
    done = judged(answer())
    assert isinstance(done, Done)
    assert (done.status, done.reason, done.total, done.bytes) == ("ok", "", 7, len(GOOD))
    assert [(result.rank, result.title) for result in done.results] == [(1, "One")]


def test_an_error_in_the_engines_own_words_is_tried_again():
    """With status 200 too; a refusal beside it weighs more, rows beside it are rows."""
    source = source_of(CSS + MARKS + '[answer.failed]\nselect = [".sorry"]\n')
    assert judged(answer(body=b"<p class=sorry>x</p>"), source) == Retry("engine_error")
    assert judged(answer(body=b"<p class=sorry>x</p><p id=none>"), source) == Retry("engine_error")
    assert judged(answer(body=b"<p class=sorry>are you human</p>"), source) == Refused("refusal_page")
    done = judged(answer(body=GOOD + b"<p class=sorry>x</p>"), source)
    assert isinstance(done, Done)
    assert (done.status, len(done.results)) == ("ok", 1)


def test_ranks_of_a_later_page_count_on():
    source = source_of(paging="size = 20\nmost = 5")
    done = judged(answer(), source, task=Task("python", 3))
    assert isinstance(done, Done)
    assert done.results[0].rank == 41


@pytest.mark.parametrize("status", [status for status in range(100, 600) if status != 200])
def test_every_status_has_its_meaning(status: int):
    """403 and 429 close the source; 5xx and 408 may be tried again; the rest ends the task as failed."""
    got = judged(answer(status))
    if status in (403, 429):
        assert got == Refused(f"http_{status}", None)
    elif status >= 500 or status == 408:
        assert got == Retry(f"http_{status}")
    else:
        assert isinstance(got, Done)
        assert (got.status, got.reason, got.results) == ("failed", f"http_{status}", ())


def test_a_503_that_names_a_moment_is_a_refusal_and_without_one_a_failure():
    assert judged(answer(503, retry_after="30"), now=NOW) == Refused("http_503", NOW + 30)
    assert judged(answer(503, retry_after="soon"), now=NOW) == Retry("http_503")
    assert judged(answer(500, retry_after="30"), now=NOW) == Retry("http_500")


def test_a_source_names_its_own_signs_of_refusal_and_of_nothing_found():
    """Statuses and texts; what is empty is ok, not failed."""
    assert judged(answer(418), MARKED) == Refused("http_418")
    assert judged(answer(body=b"Are you sure, are you human?"), MARKED) == Refused("refusal_page")
    assert judged(answer(body=b"<p id=none>"), MARKED) == Done("ok", "", 11)
    assert judged(answer(404, b"nothing"), MARKED) == Done("ok", "", 7)


def test_a_refusal_page_with_status_200_may_name_a_moment_too():
    assert judged(answer(body=b"are you human", retry_after="60"), MARKED, now=NOW) == Refused(
        "refusal_page", NOW + 60
    )


@pytest.mark.parametrize("status", [202, 302, 400, 404, 410, 500, 502, 503])
def test_a_refusal_page_is_a_refusal_whatever_its_status(status: int):
    """An engine that says no in its words is not asked on because its number says something else."""
    body = b"<h1>Are you sure, are you human?</h1>"
    assert judged(answer(status, body), MARKED) == Refused("refusal_page")
    assert judged(answer(status, gzip.compress(body), content_encoding="gzip"), MARKED) == Refused(
        "refusal_page"
    )
    named = answer(status, body, retry_after="60")
    reason = "http_503" if status == 503 else "refusal_page"
    assert judged(named, MARKED, now=NOW) == Refused(reason, NOW + 60)
    selected = source_of(CSS + "[answer.refused]\nselect = ['form#captcha']\n")
    assert judged(answer(status, b"<form id=captcha>"), selected) == Refused("refusal_page")
    assert not isinstance(judged(answer(status, b"<p>no</p>"), selected), Refused)


def test_a_refusal_page_in_another_language_is_a_refusal_too():
    """Where JSON was expected a page with the source's words says no; without them it is unreadable."""
    rules = "language = 'json'\n[[answer.results]]\nrows = 'items'\nfields = { title = 'b' }\n"
    source = source_of(rules + "[answer.refused]\ntext = ['are you human']\n")
    for status in (200, 500):
        assert judged(answer(status, b"<h1>are you human</h1>"), source) == Refused("refusal_page")
    assert judged(answer(200, b"<h1>x</h1>"), source) == Done("failed", "unreadable", 10)


@pytest.mark.parametrize("body", [b"", b"<p>brand new design</p>", b"\0" * 100, b"\xff\xfe"])
def test_a_page_with_neither_rows_nor_the_sign_of_nothing_found_is_failed(body: bytes):
    """Nothing found never looks like could not read."""
    assert judged(answer(body=body), MARKED) == Done("failed", "unreadable", len(body))


@pytest.mark.parametrize("language", ["css", "xpath", "xml", "json"])
def test_an_empty_body_is_unreadable_in_every_language(language: str):
    rules = f"language = '{language}'\n[[answer.results]]\nrows = 'a'\nfields = {{ title = 'b' }}"
    assert judged(answer(body=b""), source_of(rules)) == Done("failed", "unreadable", 0)


@pytest.mark.parametrize(
    ("value", "until"),
    [
        ("0", NOW),
        ("120", NOW + 120),
        (" 5 ", NOW + 5),
        ("000000000000005", NOW + 5),
        (str(int(MAX_RETRY_AFTER)), NOW + MAX_RETRY_AFTER),
        (formatdate(NOW + 3_600, usegmt=True), NOW + 3_600),
        ("Monday, 16-Jun-25 15:06:40 GMT", 1_750_086_400.0),
        ("Mon Jun 16 15:06:40 2025", 1_750_086_400.0),
        ("Mon, 16 Jun 2025 15:06:40 -0000", 1_750_086_400.0),
        (formatdate(NOW - 60, usegmt=True), None),
        ("-5", None),
        ("5.5", None),
        ("1e3", None),
        ("9" * 400, None),
        (str(int(MAX_RETRY_AFTER) + 1), None),
        ("٣٠", None),
        ("³", None),
        ("soon", None),
        ("Mon, 99 Jun 2025 99:99:99 GMT", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, until: float | None):
    """Every form of RFC 9110, in GMT wherever this runs; the past, more than a year and garbage are none."""
    assert judged(answer(429, retry_after=value), now=NOW) == Refused("http_429", until)


@given(st.text())
def test_any_retry_after_is_in_the_future_or_none(value: str):
    got = judged(answer(429, retry_after=value), now=NOW)
    assert isinstance(got, Refused)
    assert got.until is None or NOW <= got.until <= NOW + MAX_RETRY_AFTER


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/consent?x=1", "http://127.0.0.1:8650/consent?x=1"),
        ("?q=other", "http://127.0.0.1:8650/s?q=other"),
        ("//127.0.0.1:8650/x", "http://127.0.0.1:8650/x"),
        ("http://127.0.0.1:8650/x", "http://127.0.0.1:8650/x"),
        ("https://127.0.0.1:8650/x", "https://127.0.0.1:8650/x"),
        ("http://WWW.Engine.example/x", "http://www.engine.example/x"),
        ("http://www.engine.example:80/x", "http://www.engine.example/x"),
        ("https://www.engine.example:443", "https://www.engine.example/"),
        ("https://far.example/x", "https://far.example/x"),
        ("/two words?q=a b\u00e9&r=%20", "http://127.0.0.1:8650/two%20words?q=a%20b%C3%A9&r=%20"),
        ("/caf\udce9", "http://127.0.0.1:8650/caf%E9"),
    ],
)
def test_a_redirect_on_an_allowed_host_is_followed(status: int, location: str, url: str):
    """However host and port are written; what no request line may hold is escaped, and nothing twice."""
    hosts = 'allowed_hosts = ["www.engine.example", "far.example:443"]\nkind'
    source = parse_source(source_text().replace("kind", hosts, 1))
    assert judged(answer(status, location=location), source) == Follow(url, alike=status in (307, 308))


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_post_is_asked_there_as_the_redirect_says(status: int):
    """307 and 308 ask for the same request again, the others for a plain GET (RFC 9110, 15.4)."""
    post = Request("POST", URL, {"User-Agent": "x", "Content-Type": "application/json"}, b"{}", {"Key": "k"})
    moved = judged(answer(status, location="http://127.0.0.1:8650/there"))
    assert isinstance(moved, Follow)
    got = followed(post, moved)
    if status in (307, 308):
        assert got == msgspec.structs.replace(post, url="http://127.0.0.1:8650/there")
    else:
        assert got == Request("GET", moved.url, {"User-Agent": "x"}, None, {"Key": "k"})


@pytest.mark.parametrize(
    ("asked", "moved", "same"),
    [
        ("https://a.example/s", "https://a.example:443/t", True),
        ("https://A.example:443/s", "https://a.example/t", True),
        ("https://a.example/s", "https://a.example:8443/t", False),
        ("https://a.example/s", "https://b.example/t", False),
        ("http://a.example/s", "https://a.example/t", False),
    ],
)
def test_secrets_follow_a_redirect_to_their_own_host_alone(asked: str, moved: str, *, same: bool):
    got = followed(Request("GET", asked, {}, None, {"Key": "k"}), Follow(moved))
    assert got.secret_headers == ({"Key": "k"} if same else {})


@pytest.mark.parametrize(
    "location",
    [
        "http://evil.example/",
        "//evil.example/x",
        "http://127.0.0.1:8650@evil.example/",
        "http://evil.example\\@127.0.0.1:8650/",
        "http://127.0.0.1:8650\\@evil.example/",
        "http://user@127.0.0.1:8650/",
        "http://127.0.0.1:8650.evil.example/",
        "http://127.0.0.1/",
        "http://127.0.0.1:8651/",
        "http://127.0.0.1:8650\t.evil.example/",
        "ftp://127.0.0.1:8650/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/html,x",
        "http://[::1",
        "//[x",
        "http://evil\u2100.example/",
        "http://127.0.0.1\u3002evil.example/",
    ],
)
def test_no_redirect_leads_to_another_host(location: str):
    """Neither plainly, nor by user names, back slashes, tabs, odd letters or other schemes."""
    assert judged(answer(302, location=location)) == Done("failed", "redirected_elsewhere")


@given(st.text(st.sampled_from("htps:/\\@?#.[]%\t\r\n 127.0.0.1:8650evil\u2100\u3002")))
def test_whatever_a_location_says_only_allowed_hosts_are_followed(location: str):
    got = judged(answer(302, location="http:" + location))
    if isinstance(got, Follow):
        assert got.url.startswith("http://127.0.0.1:8650")
        assert got.url[21:22] in ("", "/", "?", "#")
        assert not set(got.url) & set("\t\r\n")


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_no_redirect_leads_from_https_to_http(scheme: str):
    source = parse_source(source_text(), base_url=f"{scheme}://engine.example")
    response = answer(301, url=f"{scheme}://engine.example/s", location="http://engine.example/s")
    assert judged(response, source) == Done("failed", "redirected_elsewhere")


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_that_names_no_place_is_not_asked_again(status: int):
    """Following nothing would ask the same address over and over."""
    got = judged(answer(status, b""))
    assert got == judged(answer(status, b"", location=""))
    assert got == Done("failed", f"http_{status}")


@pytest.mark.parametrize("failure", ["timeout", "connection", "cut_short", "dns", "not_http"])
def test_what_went_wrong_below_http_may_be_tried_again(failure: str):
    assert judged(Response(0, {}, b"", URL, failure=failure)) == Retry(failure)


@pytest.mark.parametrize("failure", ["too_large", "host_not_allowed"])
def test_what_would_only_happen_again_ends_the_task(failure: str):
    assert judged(Response(200, {}, b"", URL, failure=failure)) == Done("failed", failure)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(GOOD, mtime=0)[:-9], "gzip"),
        (b"plain", "gzip"),
        (b"", "gzip"),
        (GOOD, "br"),
        (GOOD, "deflate"),
    ],
)
def test_a_damaged_or_cut_body_may_be_tried_again(body: bytes, encoding: str):
    assert judged(answer(body=body, content_encoding=encoding)) == Retry("damaged")


def test_a_body_that_inflates_beyond_the_limit_ends_the_task():
    bomb = gzip.compress(b"\0" * 100_000)
    source = source_of(limits="bytes = 10000")
    assert judged(answer(body=bomb, content_encoding="gzip"), source) == Done(
        "failed", "too_large", len(bomb)
    )


def test_results_pages_are_read_in_their_own_charset():
    page = '<div class="hit"><h3>größer</h3></div>'.encode("latin-1")
    done = judged(
        answer(body=gzip.compress(page), content_encoding="gzip", content_type="text/html; charset=latin1")
    )
    assert isinstance(done, Done)
    assert done.results[0].title == "größer"
