"""One rate for a whole fleet: whatever its members do, the engine never sees more than was agreed."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pace import (
    GRACE,
    HORIZON,
    TOLD,
    TRIAL,
    YIELDED,
    Lease,
    PaceState,
    Wait,
    answered,
    closed_to,
    give_back,
    lease,
    refuse,
    untried,
)
from stages.source import Politeness
from tests.stages.fleet import NOW, Fleet, most_above

RATES = st.one_of(
    st.sampled_from([1 / 60, 1 / 7, 0.1, 1.0, 3.0, 10.0, 200.0]), st.floats(1 / 60, 200.0, allow_nan=False)
)
PACE = Politeness(rate=10.0, burst=3, rest=60.0, max_rest=600.0)


def closed(until: float | None = None, pace: Politeness = PACE, state: PaceState | None = None) -> PaceState:
    """An open source that was refused just now."""
    return refuse(state if state is not None else PaceState(), pace, NOW, until, "http_429")


def leased(state: PaceState, pace: Politeness, now: float, want: int) -> tuple[PaceState, Lease]:
    """A lease that must be given."""
    after, given_lease = lease(state, pace, now, want)
    assert isinstance(given_lease, Lease)
    return after, given_lease


def waits(state: PaceState, pace: Politeness, now: float) -> Wait:
    """A wait that must be told, and that changes nothing."""
    after, wait = lease(state, pace, now, 5)
    assert isinstance(wait, Wait)
    assert after == state
    assert wait.until > now
    return wait


@settings(max_examples=60, deadline=None)
@given(RATES, st.integers(1, 20), st.integers(1, 8), st.integers(0, 10**6))
def test_no_window_at_the_engine_holds_more_than_was_agreed(rate: float, burst: int, holders: int, seed: int):
    """However many come late, forfeit, give back, pause or die: at most r·(w + δ) + b in w seconds."""
    pace = Politeness(rate=rate, burst=burst)
    arrivals = Fleet(pace, holders, seed, unruly=True).run(requests=1_500)
    assert len(arrivals) > 100
    assert most_above(arrivals, rate) <= rate * GRACE + burst + 1e-6 * (1 + rate)


@settings(max_examples=40, deadline=None)
@given(RATES, st.integers(1, 20), st.integers(1, 8), st.integers(0, 10**6))
def test_work_that_waits_gets_the_whole_rate(rate: float, burst: int, holders: int, seed: int):
    """While there is work and its holders use their slots, at least 95 of 100 slots are used."""
    arrivals = Fleet(Politeness(rate=rate, burst=burst), holders, seed).run(requests=1_500)
    assert len(arrivals) - 1 >= 0.95 * rate * (arrivals[-1] - arrivals[0])


@pytest.mark.parametrize("period", [61.0, 90.0, 600.0, 86_400.0])
def test_a_rate_below_one_a_minute_is_used_too(period: float):
    """A slot further apart than a lease reaches is waited for until its own moment, not longer."""
    pace = Politeness(rate=1 / period)
    state, _ = leased(PaceState(), pace, NOW, 5)
    now = NOW
    for turn in range(1, 6):
        now = waits(state, pace, now + 1e-3).until
        state, given_lease = leased(state, pace, now, 5)
        assert given_lease.slot(0) == pytest.approx(NOW + turn * period, abs=1e-3)


@given(RATES, st.integers(1, 20), st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 100)), max_size=20))
def test_a_lease_never_reaches_beyond_its_horizon(rate: float, burst: int, asks: list[tuple[int, float]]):
    """A copy that dies wastes a minute of the rate at most. No lease is empty, none gives more than asked."""
    pace, state, now = Politeness(rate=rate, burst=burst), PaceState(), NOW
    for want, pause in asks:
        state, answer = lease(state, pace, now, want)
        if isinstance(answer, Lease):
            assert 1 <= answer.count <= want
            assert now <= answer.slot(0) <= answer.slot(answer.count - 1) <= now + HORIZON + 1e-6
        now += pause


@given(RATES, st.integers(1, 20), st.floats(0, 1e7))
def test_a_long_silence_saves_up_no_more_than_the_burst(rate: float, burst: int, idle: float):
    pace = Politeness(rate=rate, burst=burst)
    state, _ = leased(PaceState(), pace, NOW, 1)
    _, given_lease = leased(state, pace, NOW + HORIZON * 2 + idle, 1_000)
    at_once = [n for n in range(given_lease.count) if given_lease.slot(n) <= given_lease.granted + 1e-6]
    assert len(at_once) <= burst


@pytest.mark.parametrize("rate", [150.0, 170.0, 199.0, 10_000.0])
def test_rounding_never_adds_up_to_a_higher_rate(rate: float):
    """A hundred thousand leases of one slot: the clock of the rate stands where it should, or later."""
    pace, state, now = Politeness(rate=rate), PaceState(tat=NOW), NOW
    for _ in range(100_000):
        state, _given = leased(state, pace, now, 1)
        now = state.tat
    assert state.tat >= NOW + 100_000 / rate
    assert state.tat <= NOW + 100_000 / rate * 1.01


@given(RATES, st.integers(1, 50), st.integers(-3, 60))
def test_what_is_given_back_is_given_again_once(rate: float, want: int, unused: int):
    """Slots return to the next who asks; returning them twice, or more than there were, gains nothing."""
    pace = Politeness(rate=rate)
    state, given_lease = leased(PaceState(), pace, NOW, want)
    returned = give_back(state, given_lease, unused)
    left = given_lease.count - min(max(unused, 0), given_lease.count)
    assert returned.tat == pytest.approx(NOW + left / rate, abs=1e-5)
    assert returned.tat <= state.tat
    assert give_back(returned, given_lease, unused) == returned


def test_slots_return_only_while_nobody_leased_after():
    """Another holder's slots stand behind them by then: those would be given out twice."""
    state, first = leased(PaceState(), PACE, NOW, 10)
    state, _second = leased(state, PACE, NOW, 10)
    assert give_back(state, first, 5) == state


def test_slots_of_a_closed_source_do_not_return():
    state, given_lease = leased(PaceState(), PACE, NOW, 10)
    state = refuse(state, PACE, NOW + 1, None, "http_429")
    assert give_back(state, given_lease, 5) == state


@given(st.floats(0, 3_599.999))
def test_while_a_source_is_closed_nobody_asks(after: float):
    """Until the very moment it named."""
    state = closed(until=NOW + 3_600)
    assert waits(state, PACE, NOW + after) == Wait(NOW + 3_600, "closed")


def test_the_rest_doubles_for_refusals_in_a_row_up_to_its_most():
    """Each refused trial doubles it; thousands of them change no more than the first ten."""
    state, now, rests = PaceState(), NOW, []
    for _ in range(3_000):
        state = refuse(state, PACE, now, None, "http_429")
        rests.append(state.closed_until - now)
        now = state.closed_until
    assert rests[:6] == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
    assert rests[-1] == 600.0
    assert state.closed_since == NOW


def test_refusals_that_were_on_their_way_do_not_double_the_rest():
    """Eight requests were under way when the source said no: it said no once."""
    state = closed()
    for delay in range(8):
        state = refuse(state, PACE, NOW + delay, None, "http_429")
    assert state.refusals == 1
    assert state.closed_until == NOW + 7 + 60


@pytest.mark.parametrize("seconds", [1.0, 599.0, 3_600.0, 30 * 86_400.0])
def test_the_moment_that_an_engine_names_is_obeyed(seconds: float):
    """Shorter than the rest or longer than the longest one: the engine knows best."""
    assert closed(until=NOW + seconds).closed_until == NOW + seconds


@pytest.mark.parametrize("named", [0.0, 1.0, 30.0, 1_000.0])
def test_a_moment_that_proved_wrong_is_waited_for_no_less_than_our_own_rest(named: float):
    """Waited for and refused again, the source rests for the longer of both, doubled as ever."""
    state, now, rests = PaceState(), NOW, []
    for _ in range(6):
        state = refuse(state, PACE, now, now + named, "http_429")
        rests.append(state.closed_until - now)
        now = state.closed_until
    ours = [1.0, 120.0, 240.0, 480.0, 600.0, 600.0]
    assert rests == [max(named, rest) for rest in ours]


def test_a_later_refusal_never_shortens_what_was_named():
    state = closed(until=NOW + 3_600)
    assert refuse(state, PACE, NOW + 1, NOW + 10, "http_429").closed_until == NOW + 3_600
    assert refuse(state, PACE, NOW + 1, None, "http_403").closed_until == NOW + 3_600


def test_after_the_rest_exactly_one_request_is_tried():
    """One lease of one request, at its own slot; everybody else waits for what becomes of it."""
    state = closed()
    state, trial = leased(state, PACE, NOW + 60, 50)
    assert trial.trial
    assert (trial.count, trial.slot(0)) == (1, NOW + 60)
    for after in (60.0, 61.0, 60.0 + TRIAL - 0.1):
        assert waits(state, PACE, NOW + after) == Wait(NOW + 60 + TRIAL, "trial")


@pytest.mark.parametrize("answer", [30.0, 45.0, 600.0, 3_600.0])
def test_a_trial_is_waited_for_as_long_as_its_answer_may_take(answer: float):
    """A source with a long time-out has one trial open, not one a minute."""
    state, trial = lease(closed(), PACE, NOW + 60, 1, answer=answer)
    assert isinstance(trial, Lease)
    assert trial.trial
    for after in (1.0, TRIAL - 1, answer + GRACE):
        assert isinstance(lease(state, PACE, NOW + 60 + after, 1, answer=answer)[1], Wait)
    _, next_trial = lease(state, PACE, NOW + 60 + max(TRIAL, answer + TOLD), 1, answer=answer)
    assert isinstance(next_trial, Lease)


def test_the_lane_that_was_refused_makes_the_trial():
    """Others leave it to that one for some minutes; where it does not come, anyone makes it."""
    state = refuse(PaceState(), PACE, NOW, None, "http_429", lane="2")
    for lane in ("", "1"):
        _, wait = lease(state, PACE, NOW + 61, 1, lane=lane)
        assert wait == Wait(NOW + 60 + YIELDED, "trial")
        _, late = lease(state, PACE, NOW + 60 + YIELDED, 1, lane=lane)
        assert isinstance(late, Lease)
    _, ours = lease(state, PACE, NOW + 61, 1, lane="2")
    assert isinstance(ours, Lease)
    assert ours.trial


def test_where_no_lane_was_refused_any_makes_the_trial():
    _, trial = lease(closed(), PACE, NOW + 61, 1, lane="1")
    assert isinstance(trial, Lease)


def test_a_trial_that_nobody_reported_is_given_to_another():
    """Its holder may have died: the source does not stay closed for ever."""
    state, first = leased(closed(), PACE, NOW + 60, 1)
    state, second = leased(state, PACE, NOW + 60 + TRIAL, 1)
    assert second.trial
    assert second.number == first.number + 1


@pytest.mark.parametrize("rate", [1 / 60, 1.0])
def test_a_trial_waits_for_its_slot_and_reaches_no_further_than_a_lease(rate: float):
    """Slots that were leased before the refusal are still taken, and count as used."""
    pace = Politeness(rate=rate, rest=1.0)
    state, held = leased(PaceState(), pace, NOW, 1_000)
    state = refuse(msgspec.structs.replace(state, tat=state.tat + HORIZON), pace, NOW, None, "http_429")
    now = waits(state, pace, NOW + 1).until
    assert now > NOW + 1
    _, trial = leased(state, pace, now, 1)
    assert trial.trial
    assert trial.slot(0) <= now + HORIZON + 1e-6
    assert trial.slot(0) >= held.slot(held.count - 1) + 1 / rate


def test_an_answered_trial_opens_the_source_without_a_gush():
    """Refusals are forgotten; what was saved up during the rest is the burst and no more."""
    state, trial = leased(closed(), PACE, NOW + 60, 1)
    state = answered(state)
    assert (state.closed_since, state.refusals, state.reason) == (0.0, 0, "")
    _, next_lease = leased(state, PACE, NOW + 60, 100)
    assert next_lease.slot(0) == pytest.approx(trial.slot(0) + 1 / PACE.rate)
    assert not next_lease.trial


def test_an_answer_does_not_open_what_was_refused_meanwhile():
    """A straggler brought a Retry-After while the trial was under way: the engine's last word counts."""
    state, _trial = leased(closed(), PACE, NOW + 60, 1)
    state = refuse(state, PACE, NOW + 61, NOW + 4_000, "http_429")
    assert waits(answered(state), PACE, NOW + 62) == Wait(NOW + 4_000, "closed")


def test_a_refused_trial_is_tried_again_later_by_one():
    state, _trial = leased(closed(), PACE, NOW + 60, 1)
    state = refuse(state, PACE, NOW + 60.2, None, "http_429")
    assert waits(state, PACE, NOW + 61).until == NOW + 60.2 + 120
    state, trial = leased(state, PACE, NOW + 200, 9)
    assert (trial.trial, trial.count) == (True, 1)


@given(st.lists(st.sampled_from(["lease", "refuse", "named", "answered", "back"]), max_size=40), RATES)
def test_whatever_happens_the_state_can_be_stored_and_leads_on(steps: list[str], rate: float):
    """It survives JSON, never points more than the refusals say, and somebody may ask some day."""
    pace, state, now = Politeness(rate=rate, rest=2.0, max_rest=64.0), PaceState(), NOW
    held = Lease(NOW, NOW, 1 / rate, 1, 0)
    for step in steps:
        now += 1.7
        if step == "lease":
            state, answer = lease(state, pace, now, 7)
            held = answer if isinstance(answer, Lease) else held
        elif step == "back":
            state = give_back(state, held, 3)
        elif step == "answered":
            state = answered(state)
        else:
            state = refuse(state, pace, now, now + 5 if step == "named" else None, "http_429")
    assert msgspec.json.decode(msgspec.json.encode(state), type=PaceState) == state
    for _ in range(4):
        _, answer = lease(state, pace, now, 1)
        if isinstance(answer, Lease):
            break
        now = math.nextafter(answer.until, math.inf)
    assert isinstance(answer, Lease)


def test_a_holder_takes_no_slots_that_it_cannot_live_to_use():
    """Whoever has two seconds left gets what falls into them, and leaves the rest to the others."""
    pace = Politeness(rate=10)
    state, first = lease(PaceState(), pace, NOW, 100, within=2.0)
    assert isinstance(first, Lease)
    assert first.slot(first.count - 1) <= NOW + 2.0
    assert lease(state, pace, NOW, 100, within=2.0)[0] == state
    _, longer = lease(state, pace, NOW, 100, within=30.0)
    assert isinstance(longer, Lease)
    assert longer.start == pytest.approx(state.tat)


def test_a_trial_that_decided_nothing_is_the_next_one_s():
    """The source stays as closed as it was, and whoever asks next makes the trial; no older lease matters."""
    refused, old = leased(PaceState(), PACE, NOW, 1)
    refused = closed(NOW + 5, state=refused)
    tried, trial = leased(refused, PACE, NOW + 5, 3)
    assert trial.trial
    passed = untried(tried, trial)
    assert (passed.closed_since, passed.closed_until, passed.refusals) == (NOW, NOW + 5, 1)
    again, second = leased(passed, PACE, NOW + 5, 3)
    assert second.trial
    assert second.slot(0) >= trial.slot(0) + trial.interval
    for earlier in (old, trial):
        assert untried(again, earlier) == again
    assert untried(PaceState(leases=1), old) == PaceState(leases=1)


def test_a_closed_source_is_closed_to_all_but_its_trial():
    """Whatever a clock says of the rest: who holds an older lease asks nothing more with it."""
    state, held = leased(PaceState(), PACE, NOW, 5)
    assert not closed_to(state, held, NOW)
    refused = closed(NOW + 1, state=state)
    for now in (NOW, NOW + 0.9, NOW + 1, NOW + 60):
        assert closed_to(refused, held, now)
    assert closed_to(refused, None, NOW)
    assert not closed_to(refused, None, NOW + 1)
    tried, trial = leased(refused, PACE, NOW + 1, 5)
    assert not closed_to(tried, trial, NOW + 1)
    assert closed_to(tried, held, NOW + 1)
    # A refusal on its way, and a trial that lapsed and is somebody else's now.
    assert closed_to(closed(NOW + 1, state=tried), trial, NOW + 2)
    lapsed, _ = leased(tried, PACE, NOW + 3 + TRIAL, 1)
    assert closed_to(lapsed, trial, NOW + 3 + TRIAL)
    assert not closed_to(answered(tried), held, NOW + 2)
