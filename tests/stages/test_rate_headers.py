"""What engines say of their limits: read from every way of writing it, and heeded where it is stricter."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pace import HORIZON, ROUNDED, SLOWED, Lease, PaceState, Wait, lease, refuse, slow
from stages.rate_headers import LONGEST_WINDOW, MAX_HOLD, Allowance, read_allowance
from stages.source import Politeness

NOW = 1_750_000_000.0
PACE = Politeness(rate=10.0)

BRAVE = {
    "x-ratelimit-limit": "1, 15000",
    "x-ratelimit-policy": "1;w=1, 15000;w=2592000",
    "x-ratelimit-remaining": "1, 1000",
    "x-ratelimit-reset": "1, 1419704",
}


@pytest.mark.parametrize(
    ("headers", "hold", "rate"),
    [
        # Brave: two windows, a second and a month.
        (BRAVE, None, 1.0),
        (BRAVE | {"x-ratelimit-remaining": "0, 1987"}, 1.0, 1.0),
        (BRAVE | {"x-ratelimit-remaining": "1, 0"}, MAX_HOLD, 1.0),
        # Its paid plans: a month that is not counted has a limit of 0, of which 0 is left.
        ({"x-ratelimit-limit": "50, 0", "x-ratelimit-policy": "50;w=1, 0;w=2592000",
          "x-ratelimit-remaining": "49, 0", "x-ratelimit-reset": "1, 1419704"}, None, 50.0),
        ({"x-ratelimit-limit": "50, 0", "x-ratelimit-policy": "50;w=1, 0;w=2592000",
          "x-ratelimit-remaining": "0, 0", "x-ratelimit-reset": "1, 1419704"}, 1.0, 50.0),
        ({"x-ratelimit-policy": "50;w=1, 0;w=2592000", "x-ratelimit-remaining": "49, 0",
          "x-ratelimit-reset": "1, 1419704"}, None, 50.0),
        # A limit of which nothing is known stays one.
        ({"x-ratelimit-limit": "50", "x-ratelimit-remaining": "49, 0", "x-ratelimit-reset": "1, 60"},
         60.0, None),
        # GitHub: a moment, in seconds since 1970; what is past holds nobody.
        ({"x-ratelimit-limit": "60", "x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{NOW + 1800:.0f}"},
         1_800.0, None),
        ({"x-ratelimit-limit": "60", "x-ratelimit-remaining": "59", "x-ratelimit-reset": f"{NOW + 9:.0f}"},
         None, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{NOW - 5:.0f}"}, None, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{(NOW + 30) * 1000:.0f}"}, 30.0, None),
        ({"x-rate-limit-limit": "15", "x-rate-limit-remaining": "0", "x-rate-limit-reset": "77"}, 77.0, None),
        # The IETF's drafts, older ones first.
        ({"ratelimit-limit": "10, 10;w=1, 600;w=60", "ratelimit-remaining": "0", "ratelimit-reset": "7"},
         7.0, 10.0),
        ({"ratelimit": "limit=100, remaining=0, reset=5", "ratelimit-policy": "100;w=10"}, 5.0, 10.0),
        ({"ratelimit-policy": '"name";q=100;w=60', "ratelimit": '"name";r=50;t=30'}, None, 100 / 60),
        ({"ratelimit-policy": '"b";q=9;w=3, "day";q=500;w=86400', "ratelimit": '"b";r=3;t=1, "day";r=0;t=40'},
         40.0, 3.0),
        ({"ratelimit-policy": '"bytes";q=65535;qu="content-bytes";w=10'}, None, None),
        ({"ratelimit-policy": '"all";q=6;qu="requests";w=3'}, None, 2.0),
        ({"RateLimit-Policy".lower(): "default;q=5;w=60;pk=:dHJpYWw6:"}, None, 5 / 60),
        # A window of more than an hour is not spread: what it has may be used at once.
        ({"x-ratelimit-policy": "100;w=3600"}, None, 100 / 3600),
        ({"x-ratelimit-policy": "100;w=3601"}, None, None),
    ],
)  # fmt: skip
def test_every_way_of_writing_it_is_read(headers: dict[str, str], hold: float | None, rate: float | None):
    """The moment until which nothing is left, and the strictest rate of its windows."""
    said = read_allowance(headers, NOW)
    expected = Allowance(NOW + hold if hold is not None else None, rate)
    assert said == (expected if expected != Allowance() else None)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/html"},
        {"x-ratelimit-remaining": "0"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "-5"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "Wed, 21 Oct 2026 07:28:00 GMT"},
        {"x-ratelimit-remaining": "none", "x-ratelimit-reset": "60"},
        {"x-ratelimit-policy": "0;w=60, 5;w=0, -1;w=1, nan;w=1, inf;w=1, 1;w=, ;;;, =, 5;w=1e3"},
        {"ratelimit": "?1", "ratelimit-policy": '"'},
        {"ratelimit-policy": "\u0661;w=\u0661"},
    ],
)
def test_what_says_nothing_is_nothing(headers: dict[str, str]):
    assert read_allowance(headers, NOW) is None


_NAMES = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-policy",
    "x-rate-limit-reset",
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
]
_TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet='0123456789;=, w"qrt.-', max_size=40),
    st.sampled_from(["0", "1", "0, 0", "1;w=1", '"a";q=5;w=10', '"a";r=0;t=10', "1750000100", "9" * 15]),
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(_NAMES), _TEXTS))
def test_no_header_raises_or_holds_for_longer_than_a_day(headers: dict[str, str]):
    """Whatever they say: after a day at most one request is asked, and its answer decides."""
    said = read_allowance(headers, NOW)
    if said is not None:
        assert said.hold is None or NOW < said.hold <= NOW + MAX_HOLD
        assert said.rate is None or said.rate >= 1 / LONGEST_WINDOW


_ALLOWANCES = st.builds(
    Allowance,
    st.none() | st.floats(NOW - 10, NOW + MAX_HOLD),
    st.none() | st.floats(1 / LONGEST_WINDOW, 1_000),
)


@settings(deadline=None)
@given(st.lists(st.tuples(_ALLOWANCES, st.floats(0, 500)), max_size=12), st.sampled_from([1 / 60, 0.9, 10.0]))
def test_no_header_ever_makes_a_source_faster(heeded: list[tuple[Allowance, float]], rate: float):
    """Step for step no lease begins sooner, is closer together or larger than without headers."""
    for burst in (1, 3):
        pace = Politeness(rate=rate, burst=burst)
        plain, state, now = PaceState(), PaceState(), NOW
        for allowance, after in heeded:
            now += after
            state = slow(state, pace, allowance, now - 0.2, now)
            _, free = lease(plain, pace, now, 30)
            state, given_answer = lease(state, pace, now, 30)
            if isinstance(given_answer, Lease):
                assert given_answer.interval >= 1 / rate
                assert isinstance(free, Lease)
                assert given_answer.count <= free.count
                for at in range(given_answer.count):
                    assert given_answer.slot(at) >= free.slot(at)
                    assert given_answer.start + at * given_answer.interval >= free.start + at * free.interval
                assert now >= state.held_until
            # The same past for both: what was leased with headers.
            plain = msgspec.structs.replace(PaceState(), tat=state.tat, leases=state.leases)
            assert state.held_until <= now + MAX_HOLD + 500
            assert state.slow_until <= now + max(SLOWED, 2 * LONGEST_WINDOW)


def test_an_engine_that_has_nothing_left_holds_everyone():
    """Until its window begins anew; then the burst and no more."""
    state, _ = lease(PaceState(), PACE, NOW, 5)
    state = slow(state, PACE, Allowance(hold=NOW + 30), NOW, NOW)
    assert lease(state, PACE, NOW + 29.9, 5) == (state, Wait(NOW + 30, "rate"))
    _, after = lease(state, PACE, NOW + 30, 50)
    assert isinstance(after, Lease)
    assert after.slot(1) - after.slot(0) == pytest.approx(0.1)


def test_a_slower_pace_is_kept_and_ends():
    """Renewed in its last half alone, so that an answer of a steady engine stores nothing."""
    said = Allowance(rate=2.0)
    state = slow(PaceState(), PACE, said, NOW, NOW)
    _, slowed = lease(state, PACE, NOW, 50)
    assert isinstance(slowed, Lease)
    assert slowed.interval == 0.5
    assert slow(state, PACE, said, NOW + 100, NOW + 100) is state
    renewed = slow(state, PACE, said, NOW + 400, NOW + 400)
    assert renewed.slow_until == NOW + 400 + SLOWED
    _, free = lease(renewed, PACE, renewed.slow_until, 50)
    assert isinstance(free, Lease)
    assert free.interval == 0.1


def test_a_looser_word_does_not_take_a_stricter_one_back():
    """Not before its end: two kinds of answers may have limits of their own."""
    state = slow(PaceState(), PACE, Allowance(rate=2.0), NOW, NOW)
    assert slow(state, PACE, Allowance(rate=5.0), NOW, NOW + 1) is state
    assert slow(state, PACE, Allowance(rate=1.0), NOW, NOW + 1).slow_rate == 1.0


def test_what_we_do_anyway_is_not_stored():
    """Brave's smallest plan has nothing left for a second after each request; our next one comes later."""
    pace = Politeness(rate=0.9)
    said = read_allowance(BRAVE | {"x-ratelimit-remaining": "0, 1987"}, NOW)
    assert said is not None
    state, _ = lease(PaceState(), pace, NOW, 20)
    assert slow(state, pace, said, NOW - 0.5, NOW) is state
    for generous in (0.9, 5.0):
        assert slow(state, pace, Allowance(rate=generous), NOW, NOW) is state
    faster = Politeness(rate=0.9, burst=5)
    assert slow(state, faster, Allowance(hold=NOW + 3), NOW - 0.5, NOW).held_until == NOW + 3
    held = slow(state, pace, Allowance(hold=NOW + 60), NOW - 0.5, NOW)
    assert slow(held, pace, Allowance(hold=NOW + 60 + ROUNDED / 2), NOW - 0.5, NOW + 0.5) is held


def test_a_closed_source_is_tried_when_both_allow_it():
    """After a 429 without Retry-After whose headers name the window's end, the trial is after that."""
    state = refuse(PaceState(), PACE, NOW, None, "http_429")
    held = slow(state, PACE, Allowance(hold=NOW + 600), NOW, NOW)
    assert lease(held, PACE, NOW + 61, 1)[1] == Wait(NOW + 600, "closed")
    trial = lease(held, PACE, NOW + 600, 1)[1]
    assert isinstance(trial, Lease)
    assert trial.trial
    # The refusal after a long hold belongs to the same closing: it has its end.
    later = slow(state, PACE, Allowance(hold=NOW + MAX_HOLD), NOW, NOW)
    assert refuse(later, PACE, NOW + MAX_HOLD + 5, None, "http_429").closed_since == NOW
    assert HORIZON < MAX_HOLD
