"""Fewer requests at once while an engine answers slowly, and never more than was agreed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stages.records import Response
from stages.tempo import FEW, QUICK, SHORTEST, SLOW, TOO_SLOW, Tempo, heard, open_requests

MOST = 8


def response(status: int, seconds: float, failure: str = "") -> Response:
    """One that took so long."""
    return Response(status, {}, b"", "", round(seconds * 1_000), failure)


def after(tempo: Tempo, *seconds: float | None) -> Tempo:
    """The tempo after answers that took so long; None is one that never came."""
    for one in seconds:
        tempo = heard(tempo, response(200, one) if one is not None else response(0, 1.0, "timeout"), MOST)
    return tempo


USUAL = after(Tempo(), *[0.4] * 20)


def test_answers_as_usual_change_nothing():
    """Some are slower, most are not; a single slow one says nothing either."""
    assert open_requests(after(USUAL, *[0.3, 0.5, 0.9] * 100), 8) == 8
    assert open_requests(after(USUAL, *[0.4, 0.4, 9.0] * 100), 8) == 8


def test_answers_that_take_several_times_as_long_halve_what_is_open():
    """Three in a row halve it, three more halve it again, down to one."""
    seconds = 0.4 * SLOW * 1.5
    tempo, seen = USUAL, []
    for _ in range(5):
        tempo = after(tempo, *[seconds] * TOO_SLOW)
        seen.append(open_requests(tempo, 8))
    assert seen == [4, 2, 1, 1, 1]


def test_answers_that_never_come_are_slow_ones():
    """An engine that lets requests time out is asked with fewer at once, whatever is usual."""
    assert open_requests(after(USUAL, None, None, None), 8) == 4
    assert open_requests(after(USUAL, None, None, None, None, None, None), 8) == 2


def test_it_recovers_step_by_step_up_to_what_was_agreed():
    """As many answers in a row as usual double it; it ends where it began."""
    tempo = after(USUAL, *[None] * 90)
    seen = []
    for _ in range(5):
        tempo = after(tempo, *[0.4] * QUICK)
        seen.append(open_requests(tempo, 8))
    assert seen == [2, 4, 8, 8, 8]


def test_errors_never_make_it_faster():
    """Refusals and broken answers that come quickly do not count as quick ones, however many."""
    tempo = after(USUAL, *[None] * 9)
    for status in (429, 500, 0, 403) * 5 * QUICK:
        tempo = heard(tempo, response(status, 0.01), MOST)
    assert open_requests(tempo, 8) == 1
    tempo = after(tempo, *[0.4] * (QUICK - 1))
    tempo = heard(tempo, response(status, 0.01), MOST)
    assert open_requests(after(tempo, 0.4), 8) == 1


def test_what_nobody_would_call_slow_is_not():
    """An engine that answers in 2 ms may take 20."""
    assert open_requests(after(after(Tempo(), *[0.002] * 50), *[SHORTEST * 0.9] * 50), 8) == 8


def test_the_first_answers_only_say_what_is_usual():
    """Connections are opened meanwhile; and an engine that is slow from the start is as it is."""
    assert open_requests(after(Tempo(), 0.1, *[3.0] * (FEW - 1)), 8) == 8
    assert open_requests(after(Tempo(), *[3.0] * 200), 8) == 8


def test_what_became_usual_is_usual():
    """An engine that stays slower for hundreds of answers is not held at one request for ever."""
    tempo = after(USUAL, *[2.0] * 12)
    assert open_requests(tempo, 8) < 8
    assert open_requests(after(tempo, *[2.0] * 500), 8) == 8


@given(
    st.lists(
        st.tuples(st.integers(0, 599), st.integers(0, 10**9), st.sampled_from(["", "timeout", "connection"]))
    ),
    st.integers(1, 1_000),
)
def test_it_is_between_one_and_what_was_agreed(answers: list[tuple[int, int, str]], most: int):
    """Whatever comes, and however long it took."""
    tempo = Tempo()
    for status, milliseconds, failure in answers:
        tempo = heard(tempo, Response(status, {}, b"", "", milliseconds, failure), most)
        assert 1 <= open_requests(tempo, most) <= most
        assert tempo.usual <= 1e6
