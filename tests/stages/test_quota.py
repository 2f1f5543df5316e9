"""A day's quota: counted for the whole fleet, spent to the last request, never beyond it."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pace import (
    GRACE,
    REMEMBERED,
    TRIAL,
    Lease,
    PaceState,
    Wait,
    answered,
    give_back,
    lease,
    refuse,
)
from stages.quota import DAY, MARGIN, quota_day, read_resets
from stages.source import Politeness

MIDNIGHT = 20_000 * DAY
PACE = Politeness(rate=10.0, burst=100, quota=100)


def leased(state: PaceState, pace: Politeness, now: float, want: int) -> tuple[PaceState, Lease]:
    after, given_lease = lease(state, pace, now, want)
    assert isinstance(given_lease, Lease)
    return after, given_lease


def spent(pace: Politeness = PACE, now: float = MIDNIGHT + 3_600) -> PaceState:
    """A state of which today's quota is leased."""
    state, given_lease = leased(PaceState(), pace, now, 1_000)
    assert given_lease.count == pace.quota
    return state


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("00:00", 0, 0),
        ("07:00-08:00", 7 * 3600, 8 * 3600),
        ("23:30-00:30", 84_600, DAY + 1_800),
        ("23:59", 86_340, 86_340),
    ],
)
def test_a_reset_is_a_time_of_day_or_a_span(text: str, first: float, last: float):
    assert read_resets(text) == (first, last)


@pytest.mark.parametrize("text", ["", "8", "24:00", "08:60", "07:00-", "7:00", "00:00-13:00", "08:00-07:00"])
def test_what_is_no_time_of_day_is_refused(text: str):
    """A span of more than twelve hours is a mistake: it would leave less than half a day."""
    with pytest.raises(ValueError, match="is "):
        read_resets(text)


@settings(deadline=None)
@given(
    st.sampled_from(["00:00", "08:00", "07:00-08:00", "23:30-00:30"]),
    st.floats(0, 400 * DAY),
    st.sampled_from([0.0, 3_600.0]),
)
def test_each_of_our_days_lies_within_one_of_the_engine_s(resets: str, after: float, summer: float):
    """Whether its midnight falls early or late in the span, no day of ours has a part of two of its days."""
    now = MIDNIGHT + after
    day = quota_day(resets, now)
    first, last = read_resets(resets)
    midnight = first if first == last else last - summer
    assert day.begins <= now < day.following
    assert day.ends <= day.following - 2 * MARGIN

    def of_engine(moment: float) -> float:
        return (moment - midnight) // DAY

    assert of_engine(day.begins - MARGIN) == of_engine(day.ends + MARGIN - 1e-3)


def test_a_lease_never_exceeds_what_is_left_of_the_day():
    """Ninety, then the last ten; then all wait until the engine's new day, and the state says so."""
    state, first = leased(PaceState(), PACE, MIDNIGHT + 3_600, 90)
    state, second = leased(state, PACE, MIDNIGHT + 3_700, 90)
    assert (first.count, second.count) == (90, 10)
    assert state.spent_until == MIDNIGHT + DAY + MARGIN
    after, wait = lease(state, PACE, MIDNIGHT + 3_800, 1)
    assert wait == Wait(MIDNIGHT + DAY + MARGIN, "quota")
    assert after == state
    state, third = leased(state, PACE, MIDNIGHT + DAY + MARGIN, 500)
    assert third.count == 100
    assert state.quota_used == 100


def test_nothing_is_asked_while_the_engine_s_midnight_may_be():
    """In the hour in which Google's day begins, and in the seconds around it, there is no lease."""
    pace = msgspec.structs.replace(PACE, quota_resets="07:00-08:00")
    opens = MIDNIGHT + 8 * 3_600 + MARGIN
    for now in (MIDNIGHT + 7 * 3_600 - MARGIN, MIDNIGHT + 7.5 * 3_600, opens - 0.1):
        assert lease(PaceState(), pace, now, 5) == (PaceState(), Wait(opens, "quota"))
    assert isinstance(lease(PaceState(), pace, opens, 5)[1], Lease)


def test_no_slot_reaches_into_the_next_day():
    """A lease taken a second before the day ends has the slots of that second."""
    pace = Politeness(rate=10.0, quota=100)
    ends = MIDNIGHT + DAY - MARGIN
    state, last = leased(PaceState(), pace, ends - 1, 50)
    assert last.count == 10
    assert last.slot(last.count - 1) < ends
    assert lease(state, pace, ends - 0.5, 5)[1] == Wait(MIDNIGHT + DAY + MARGIN, "quota")


def test_what_was_not_sent_returns_to_the_quota_whoever_leased_after():
    """Missed slots and an unused end: a slow answer or a death elsewhere does not cost the day's requests."""
    state, first = leased(PaceState(), PACE, MIDNIGHT + 60, 60)
    state, _second = leased(state, PACE, MIDNIGHT + 60, 40)
    assert state.spent_until > 0
    state = give_back(state, first, unused=20, missed=5)
    assert state.quota_used == 75
    assert state.spent_until == 0
    assert give_back(state, first, unused=20, missed=5) == state
    _, third = leased(state, PACE, MIDNIGHT + 200, 99)
    assert third.count == 25


def test_nothing_returns_to_another_day_or_after_too_many_leases():
    """What was leased yesterday is no part of today's count; a state does not remember for ever."""
    state, yesterday = leased(PaceState(), PACE, MIDNIGHT + 60, 60)
    state, _ = leased(state, PACE, MIDNIGHT + DAY + 60, 1)
    assert give_back(state, yesterday, 60).quota_used == 1
    pace = msgspec.structs.replace(PACE, quota=10_000)
    state, old = leased(PaceState(), pace, MIDNIGHT + 60, 60)
    for _ in range(REMEMBERED):
        state, _given = leased(state, pace, MIDNIGHT + 60, 1)
    assert give_back(state, old, 60).quota_used == state.quota_used


def test_a_trial_is_counted_and_waits_for_the_quota():
    """A closed source without quota is not tried before the new day; the wait is one for quota."""
    state = refuse(spent(), PACE, MIDNIGHT + 4_000, None, "http_429")
    assert lease(state, PACE, MIDNIGHT + 4_010, 5)[1] == Wait(MIDNIGHT + 4_060, "closed")
    assert lease(state, PACE, MIDNIGHT + 4_060, 5)[1] == Wait(MIDNIGHT + DAY + MARGIN, "quota")
    state, trial = leased(state, PACE, MIDNIGHT + DAY + MARGIN, 5)
    assert (trial.trial, trial.count, state.quota_used) == (True, 1, 1)
    assert lease(state, PACE, MIDNIGHT + DAY + MARGIN + TRIAL / 2, 5)[1].reason == "trial"  # type: ignore[union-attr]
    assert answered(state).quota_used == 1


def test_a_clock_that_is_behind_does_not_bring_yesterday_s_quota_back():
    state, _ = leased(PaceState(), PACE, MIDNIGHT + DAY + MARGIN, 100)
    for behind in (1.0, 2 * MARGIN, 20.0, DAY):
        after, wait = lease(state, PACE, MIDNIGHT + DAY + MARGIN - behind, 5)
        assert isinstance(wait, Wait)
        assert after == state


def test_a_day_that_begins_at_another_time_in_the_file_brings_nothing_back():
    """Edited at noon, the day goes on with its count; whoever waits is told a moment to come."""
    earlier = msgspec.structs.replace(PACE, quota_resets="22:00")
    noon = MIDNIGHT + 12 * 3_600
    state, _ = leased(PaceState(), PACE, noon, 90)
    state, rest = leased(state, earlier, noon, 90)
    assert rest.count == 10
    assert lease(state, earlier, noon, 5)[1] == Wait(MIDNIGHT + 22 * 3_600 + MARGIN, "quota")
    _, next_day = leased(state, earlier, MIDNIGHT + 22 * 3_600 + MARGIN, 500)
    assert next_day.count == 100


def test_a_quota_that_was_raised_or_taken_away_counts_at_once():
    """The file says it today, and what waits today goes on."""
    state = spent()
    raised = msgspec.structs.replace(PACE, quota=150)
    after, more = leased(state, raised, MIDNIGHT + 4_000, 100)
    assert (more.count, after.quota_used) == (50, 150)
    none = msgspec.structs.replace(PACE, quota=0)
    after, any_ = leased(state, none, MIDNIGHT + 4_000, 100)
    assert (any_.count, any_.day, after.spent_until, after.quota_day) == (100, 0.0, 0.0, 0.0)
    lowered = msgspec.structs.replace(PACE, quota=50)
    after, wait = lease(leased(PaceState(), PACE, MIDNIGHT + 60, 60)[0], lowered, MIDNIGHT + 61, 5)
    assert wait == Wait(MIDNIGHT + DAY + MARGIN, "quota")
    assert after.spent_until == MIDNIGHT + DAY + MARGIN


def test_states_of_before_and_after_a_deploy_are_read():
    """One stored without a quota is one of which nothing is used; an older reader sees what it knows."""
    old = b'{"tat":5.0,"leases":3,"closed_until":0.0,"closed_since":0.0,"refusals":0,"reason":""}'
    assert msgspec.json.decode(old, type=PaceState) == PaceState(tat=5.0, leases=3)

    class Before(msgspec.Struct, frozen=True):
        tat: float = 0.0
        leases: int = 0
        reason: str = ""

    state = spent()
    read = msgspec.json.decode(msgspec.json.encode(state), type=Before)
    assert read == Before(state.tat, state.leases)
    assert msgspec.json.decode(msgspec.json.encode(state), type=PaceState) == state


def test_ten_thousand_tasks_at_a_hundred_a_day_end_on_the_hundredth():
    """By the arithmetic alone: whoever asks again when told to is served on the first moment of each day."""
    left, now, state = 10_000, MIDNIGHT + 12 * 3_600, PaceState()
    days: dict[float, int] = {}
    while left:
        state, answer = lease(state, PACE, now, min(left, 70))
        if isinstance(answer, Wait):
            now = answer.until
        else:
            left -= answer.count
            days[answer.day] = days.get(answer.day, 0) + answer.count
    assert list(days.values()) == [100] * 100
    assert now < MIDNIGHT + 99 * DAY + 60


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["lease", "lease", "back", "twice", "refuse", "answered", "midnight"]),
        st.floats(0, 40_000),
        st.integers(1, 60),
        st.floats(-1, 1),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(_STEPS, st.integers(1, 120), st.sampled_from(["00:00", "07:00-08:00"]), st.sampled_from([0.0, 3600.0]))
def test_whatever_happens_no_day_of_the_engine_sees_more_than_its_quota(
    steps: list[tuple[str, float, int, float]], quota: int, resets: str, summer: float
):
    """Clocks a second apart, requests up to the end of their grace, slots given back once and twice."""
    pace = Politeness(rate=2.0, burst=5, rest=5.0, quota=quota, quota_resets=resets)
    first, last = read_resets(resets)
    midnight = first if first == last else last - summer
    asked: Counter[float] = Counter()
    for given_lease, clock, used in used_leases(pace, steps, last):
        for at in range(used):
            asked[(given_lease.slot(at) + GRACE - clock - midnight) // DAY] += 1
    assert all(count <= quota for count in asked.values())


def used_leases(
    pace: Politeness, steps: list[tuple[str, float, int, float]], last: float
) -> list[tuple[Lease, float, int]]:
    """What the steps leased, the clock of who leased it, and how many of its slots were used."""
    state, now = PaceState(), MIDNIGHT
    held: list[tuple[Lease, float, int]] = []
    for step, after, want, clock in steps:
        now += after
        if step == "midnight":
            now = (now // DAY + 1) * DAY + last - 4 * MARGIN
        if step in ("lease", "midnight"):
            state, answer = lease(state, pace, now + clock, want)
            if isinstance(answer, Lease):
                held.append((answer, clock, want % (answer.count + 1)))
        elif step in ("back", "twice") and held:
            given_lease, _, used = held[want % len(held)]
            for _ in range(2 if step == "twice" else 1):
                state = give_back(state, given_lease, given_lease.count - used)
        elif step == "answered":
            state = answered(state)
        elif step == "refuse":
            state = refuse(state, pace, now + clock, None, "http_429")
    return held
