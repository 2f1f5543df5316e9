"""A keyword stays a keyword in every source that comes with Serpline."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.source_files import load_sources
from stages.fetch import plan_request
from stages.records import Batch, Task

SOURCES = {name: loaded.source for name, loaded in load_sources(None).items()}
KEYWORDS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.text(st.sampled_from("{}&#%?=/\\.@:;+\"'<>\r\n \0é日"), min_size=1),
    st.sampled_from(
        ["{base_url}", "{{page}}", "{secret:BRAVE_API_KEY}", "a&page=9#x", "\r\nX-Evil: 1", "../..", "%00"]
    ),
)


@pytest.mark.parametrize("name", sorted(SOURCES))
@given(keyword=KEYWORDS, page=st.integers(1, 3))
@example(keyword="http://evil.example/?q={keyword}&x=1#y\r\n\r\nGET / HTTP/1.1", page=1)
def test_a_keyword_changes_one_slot_and_nothing_else(name: str, keyword: str, page: int):
    """Whatever it holds, the request is that of another keyword with one parameter's value exchanged."""
    source = SOURCES[name]
    locale = source.spec.default_locale

    def parts(word: str) -> tuple[object, ...]:
        batch = Batch("r", "2026-01-31", 0, 1, name, locale, "desktop", (Task(word, page),))
        request = plan_request(batch.tasks[0], batch, source, "T")
        place, _, query = request.url.partition("?")
        body = request.body.decode() if request.body is not None else ""
        # Split by hand: a parser that forgives would hide what another reads.
        pairs = [pair.partition("=") for pair in (body if body else query).split("&")]
        return place, request.method, request.headers, request.secret_headers, pairs

    *around, pairs = parts(keyword)
    *plain_around, plain_pairs = parts("plain")
    assert around == plain_around
    changed = [(one, plain) for one, plain in zip(pairs, plain_pairs, strict=True) if one != plain]
    assert len(changed) <= 1
    for one, plain in changed:
        assert one[0] == plain[0]
        assert unquote(one[2]) == unquote(plain[2]).replace("plain", keyword)
        assert set(one[2]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%_.-~")
