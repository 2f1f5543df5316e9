"""What is told of a source: each closing and reopening that its state went through, and nothing else."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stages import pace
from stages.closings import LONGER, MOST_UNTOLD, noted, told
from stages.pace import PaceState
from stages.records import Closing
from stages.source import Politeness

NOW = 1.8e9
TERMS = Politeness(rate=10.0, rest=60.0, max_rest=3_600.0)
OPEN = PaceState()


def refused(state: PaceState, now: float, until: float | None = None, reason: str = "http_429") -> PaceState:
    """One more refusal."""
    return noted(state, pace.refuse(state, TERMS, now, until, reason), "x", now, run_id="r", lane="2")


def tried(state: PaceState, now: float) -> PaceState:
    """A trial request under way."""
    return noted(state, pace.lease(state, TERMS, now, 1)[0], "x", now)


def answered(state: PaceState, now: float) -> PaceState:
    return noted(state, pace.answered(state), "x", now)


def test_a_closing_says_when_why_until_when_and_who_asked():
    [event] = refused(OPEN, NOW).untold
    assert msgspec.structs.replace(event, id="") == Closing(
        id="",
        source="x",
        event="closed",
        happened_at=NOW,
        closed_since=NOW,
        closed_until=NOW + 60,
        reason="http_429",
        refusals=1,
        run_id="r",
        lane="2",
    )


def test_refusals_that_were_on_their_way_are_no_closings_of_their_own():
    """A dozen requests were out when the first was refused: the source was closed once."""
    state = OPEN
    for at in range(12):
        state = refused(state, NOW + at * 0.05)
    assert len(state.untold) == 1


def test_a_rest_that_grows_is_told_and_belongs_to_the_same_closure():
    """The engine names a later moment, or refuses the trial: closed again for longer."""
    state = refused(OPEN, NOW)
    state = refused(state, NOW + 1, NOW + 300, "http_503")
    state = refused(tried(state, NOW + 300), NOW + 301)
    assert [(one.event, one.closed_until, one.refusals, one.reason) for one in state.untold] == [
        ("closed", NOW + 60, 1, "http_429"),
        ("closed", NOW + 300, 1, "http_503"),
        ("closed", NOW + 301 + 120, 2, "http_429"),
    ]
    assert {one.closed_since for one in state.untold} == {NOW}


def test_a_trial_that_is_answered_reopens_once():
    """Two copies that both report the trial's answer open the source once."""
    state = answered(answered(tried(refused(OPEN, NOW), NOW + 60), NOW + 61), NOW + 61)
    closed, reopened = state.untold
    assert (reopened.event, reopened.happened_at, reopened.closed_since) == ("reopened", NOW + 61, NOW)
    assert (reopened.reason, reopened.refusals, reopened.closed_until) == ("http_429", 1, None)
    assert closed.id != reopened.id


def test_leases_tell_nothing():
    state = tried(OPEN, NOW)
    assert state.untold == ()
    assert noted(state, pace.lease(state, TERMS, NOW, 50)[0], "x", NOW).untold == ()


def test_what_was_told_is_forgotten_and_what_came_since_is_kept():
    first = refused(OPEN, NOW)
    second = refused(first, NOW + 5, NOW + 900)
    ids = frozenset(one.id for one in first.untold)
    assert told(second, ids).untold == second.untold[1:]
    assert told(OPEN, ids) is OPEN


def test_what_nobody_can_tell_is_bounded():
    """A state stays a small record: of very much that is untold the oldest goes."""
    state = OPEN
    for at in range(MOST_UNTOLD + 5):
        state = refused(state, NOW + at, NOW + 1_000 * (at + 1))
    assert len(state.untold) == MOST_UNTOLD
    assert state.untold[-1].closed_until == NOW + 1_000 * (MOST_UNTOLD + 5)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["refuse", "later", "try", "answer"]), st.sampled_from([0.01, 2.0, 61.0, 5_000.0])
        )
    )
)
def test_the_events_tell_the_whole_story(moves: list[tuple[str, float]]):
    """Read in their order they open and close the source as its state did; no two have one id."""
    state, now, was_closed = OPEN, NOW, []
    for move, pause in moves:
        now += pause
        before = state
        if move == "try":
            state = tried(state, now)
        elif move == "answer":
            state = answered(state, now)
        else:
            state = refused(state, now, now + 500 if move == "later" else None)
        if bool(before.closed_since) != bool(state.closed_since):
            was_closed.append(("closed" if state.closed_since else "reopened", now))
    told_of, open_now = [], True
    for event in state.untold:
        if (event.event == "reopened") != open_now and open_now == (event.event == "closed"):
            told_of.append((event.event, event.happened_at))
            open_now = event.event == "reopened"
    assert told_of == was_closed[: len(told_of)]
    assert len(told_of) == len(was_closed)
    assert len({event.id for event in state.untold}) == len(state.untold)
    if state.closed_since:
        last = state.untold[-1]
        assert last.closed_since == state.closed_since
        assert state.closed_until - (last.closed_until or 0.0) < LONGER * max(1, len(moves))


def test_of_one_closure_the_first_and_the_last_closing_say_it_all():
    """Nobody told anything while it was refused again and again: it began then, and lasts until then."""
    state = OPEN
    for at in range(3 * MOST_UNTOLD):
        state = refused(state, NOW + at, NOW + 1_000 * (at + 1))
    state = answered(tried(state, NOW + 1e6), NOW + 1e6)
    state = refused(state, NOW + 1e6 + 1)
    first, *_, last, reopened, again = state.untold
    assert len(state.untold) == MOST_UNTOLD
    assert (first.event, first.happened_at) == ("closed", NOW)
    assert (last.event, last.closed_until) == ("closed", NOW + 3_000 * MOST_UNTOLD)
    assert (reopened.event, again.event, again.closed_since) == ("reopened", "closed", NOW + 1e6 + 1)
    assert state.forgotten == 0


def test_what_there_is_no_room_for_is_counted_until_somebody_says_so():
    """Closed and open again without an end, and nobody to tell: the oldest goes, but not unnoticed."""
    state, now = OPEN, NOW
    for _ in range(MOST_UNTOLD):
        state = refused(state, now)
        state = answered(tried(state, now + 60), now + 61)
        now += 100
    assert (len(state.untold), state.forgotten) == (MOST_UNTOLD, MOST_UNTOLD)
    assert state.untold[0].happened_at == NOW + 100 * MOST_UNTOLD / 2
    assert told(state, frozenset(event.id for event in state.untold)).forgotten == 0


def test_a_state_is_a_small_record_whatever_happened():
    """DynamoDB bills each kilobyte of it at every lease."""
    state = OPEN
    for at in range(2 * MOST_UNTOLD):
        state = refused(state, NOW + at, NOW + 1_000 * (at + 1))
    assert len(msgspec.json.encode(state)) < 12_000
