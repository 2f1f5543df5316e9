"""Keywords have one form, and the fast look at a whole block agrees with the slow look at each line."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.keywords import all_normal, normalise, objection, owner
from stages.records import MAX_KEYWORD

CONTROLS = "\x00\x1c\x1f\x7f\x85\x9f"
SPACES = "\xa0\u1680\u2000\u200b\u2028\u2029\u202f\u3000\ufeff"
TRICKY = CONTROLS + SPACES + "\xa8\xad\u0308\u200d\ufdfa\uff21"
TEXT = st.text(st.one_of(st.sampled_from("ab \n" + TRICKY), st.characters(exclude_categories=["Cs"])))


@given(TEXT)
@example("a\n")
@example("\na")
@example("a\n\nb")
@example("a b\ufeff")
@example("e\u0308")
def test_a_block_called_normal_has_only_normal_lines(text: str):
    """The fast path may only be taken where the slow path would change and reject nothing."""
    if all_normal(text):
        for line in text.split("\n"):
            assert normalise(line) == line
            assert objection(line[:MAX_KEYWORD]) == ""


@pytest.mark.parametrize(
    "text", ["python", "how to sort\na list", "Straße\n日本語 python", "שלום", "👩\u200d💻"]
)
def test_ordinary_text_takes_the_fast_path(text: str):
    assert all_normal(text)


@given(TEXT)
def test_the_normal_form_of_a_normal_form_is_itself(text: str):
    once = normalise(text)
    assert normalise(once) == once


@given(TEXT)
def test_a_normal_form_is_trimmed_composed_and_has_single_spaces(text: str):
    keyword = normalise(text)
    assert keyword == keyword.strip()
    assert "  " not in keyword
    assert unicodedata.is_normalized("NFKC", keyword)
    assert "\ufeff" not in keyword


@pytest.mark.parametrize(
    ("written", "keyword"),
    [
        ("  sort\t a  list ", "sort a list"),
        ("\uff50\uff59\uff54\uff48\uff4f\uff4e", "python"),
        ("cafe\u0301", "café"),
        ("a\u00a0b\u3000c", "a b c"),
        ("\ufeffpython", "python"),
        ("ﬁle", "file"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("שלום עולם", "שלום עולם"),
    ],
)
def test_what_people_write_becomes_one_form(written: str, keyword: str):
    """Wide letters, composed accents, odd spaces and byte order marks make no second keyword."""
    assert normalise(written) == keyword


@pytest.mark.parametrize(
    ("keyword", "reason"),
    [
        ("", "empty"),
        ("k" * MAX_KEYWORD, ""),
        ("k" * (MAX_KEYWORD + 1), "keyword_too_long"),
        ("a\x00b", "control_character"),
        ("a\x9fb", "control_character"),
        ("a\u200fb", ""),
    ],
)
def test_what_no_engine_can_be_asked_is_objected_to(keyword: str, reason: str):
    assert objection(keyword) == reason


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 50))
def test_every_keyword_has_one_owner_among_the_parts(keyword: str, parts: int):
    assert 0 <= owner(keyword, parts) < parts


def test_the_owner_never_changes():
    """Parts of one run may be sharded by different versions and machines: the hash is fixed for ever."""
    assert [owner(keyword, 7) for keyword in ("python", "日本語", "a b")] == [5, 1, 0]


def test_parts_get_about_equal_shares():
    shares = [0] * 7
    for number in range(7_000):
        shares[owner(f"keyword {number}", 7)] += 1
    assert min(shares) > 850
    assert max(shares) < 1_150
