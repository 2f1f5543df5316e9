"""What finds nothing is told with its path, for whoever writes the rules."""

from __future__ import annotations

import pytest

from stages.extract import compile_rules
from stages.found import nothing_found
from stages.records import Response
from tests.stages.kit import CSS, URL, source_of

FULL = "<p id=count>2</p>" + "".join(
    f"<div class=hit><h3>{n}</h3><a href=/{n}></a><p>x</p></div>" for n in "ab"
)


def lines(body: str | bytes, answer: str = CSS, **headers: str) -> list[str]:
    source = source_of(answer)
    raw = body.encode() if isinstance(body, str) else body
    response = Response(200, {"content-type": "text/html; charset=utf-8", **headers}, raw, URL)
    return nothing_found(source, compile_rules(source.spec.answer), response)


def test_rules_that_all_find_something_say_nothing():
    assert lines(FULL) == []


def test_rows_that_find_nothing_are_named_with_their_selector():
    """And that the answer is no mark of an empty one either, which makes it unreadable."""
    assert lines("<p id=count>2</p><article>new</article>") == [
        "answer.results[0].rows finds nothing: 'div.hit'",
        "answer.empty finds none of its marks: so «nothing found» is not what this says",
    ]


def test_an_empty_answer_lacks_its_rows_alone():
    marked = CSS + "\n[answer.empty]\nselect = ['.none']"
    assert lines("<p id=count>0</p><i class=none></i>", marked) == [
        "answer.results[0].rows finds nothing: 'div.hit'"
    ]


def test_a_field_is_told_with_how_many_rows_lack_it():
    """Half of them may be as it should be: not every result has a snippet."""
    assert lines(FULL.replace("<p>x</p>", "", 1)) == [
        "answer.results[0].fields.snippet finds nothing in 1 of 2 rows: 'p'"
    ]
    assert lines(FULL.replace("href", "data-href")) == [
        "answer.results[0].fields.url finds nothing in 2 of 2 rows: 'a', attribute 'href'"
    ]


def test_a_total_that_is_not_there_is_told():
    assert lines(FULL.replace("id=count", "")) == ["answer.total finds nothing: '#count'"]


@pytest.mark.parametrize(
    ("body", "headers"), [("<html>no JSON</html>", {}), (b"\x1f\x8bbroken", {"content-encoding": "gzip"})]
)
def test_an_answer_in_another_language_is_told_so(body: str | bytes, headers: dict[str, str]):
    answer = "language = 'json'\n[[answer.results]]\nrows = 'items'\nfields = { title = 'a' }"
    [line] = lines(body, answer, **headers)
    assert line.startswith("nothing can be read with language = 'json': ")
