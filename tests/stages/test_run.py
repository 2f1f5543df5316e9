"""What is frozen of a run: its id, its parts, its options in one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.records import MAX_BATCH
from stages.run import (
    LINES_A_PART,
    Options,
    batch_size_for,
    canonical_locale,
    check_row,
    parts_for,
    run_id_of,
)
from tests.stages.kit import TERMS


@given(st.tuples(st.text(), st.text(), st.text()), st.tuples(st.text(), st.text(), st.text()))
def test_the_same_drop_is_the_same_run_and_another_is_another(one: tuple[str, ...], two: tuple[str, ...]):
    """A repeated event changes nothing; another bucket, key or version is a new run."""
    assert (run_id_of(*one) == run_id_of(*two)) == (one == two)


@pytest.mark.parametrize(
    ("written", "locale"),
    [
        ("EN_us", "en-US"),
        (" de ", "de"),
        ("de-de", "de-DE"),
        ("fil-PH", "fil-PH"),
        ("english", None),
        ("en-", None),
        ("en-USA", None),
        ("", None),
        ("en-US\n../x", None),
        ("٣٣", None),
    ],
)
def test_a_locale_has_one_form(written: str, locale: str | None):
    assert canonical_locale(written) == locale


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (Options("engine", "xx-XX", "mobile", 5), ""),
        (Options("other", "de-DE", "desktop", 3), ""),
        (Options("nowhere", "de-DE", "desktop", 1), "unknown_source"),
        (Options("other", "de-DE", "desktop", 4), "too_many_pages"),
        (Options("other", "de", "desktop", 1), "unknown_locale"),
        (Options("engine", "en-US", "Desktop", 1), "unknown_device"),
    ],
)
def test_only_what_a_source_can_do_is_asked(options: Options, reason: str):
    assert check_row(TERMS, options) == reason


@pytest.mark.parametrize(
    ("lines", "parts"), [(0, 1), (1, 1), (LINES_A_PART, 1), (LINES_A_PART + 1, 2), (10 * LINES_A_PART, 10)]
)
def test_one_more_part_for_every_ten_million_lines(lines: int, parts: int):
    assert parts_for(lines) == parts


@given(st.floats(1 / 3_600, 10_000))
def test_a_batch_passes_within_two_minutes(rate: float):
    """Unless even one task takes longer."""
    size = batch_size_for(rate)
    assert 1 <= size <= MAX_BATCH
    assert size == 1 or size <= 120 * rate + 1e-6
