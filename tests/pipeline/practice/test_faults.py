"""When the engine misbehaves: decided, repeatable, and by what was asked alone."""

import msgspec
import pytest

from pipeline.practice.faults import Fault, Question, chosen
from pipeline.practice.quota import Quota, QuotaState, spend


def meets(
    fault: Fault, keyword: str = "k", *, time: int = 1, page: int = 1, path: str = "/search", seed: int = 0
) -> bool:
    return chosen([fault], Question(path, keyword, page, time), seed=seed)[1] is not None


def test_a_fault_without_keywords_and_share_meets_nobody():
    assert not any(meets(Fault("error"), f"k{n}") for n in range(500))


def test_a_share_of_one_meets_everybody():
    assert all(meets(Fault("error", share=1.0), f"k{n}") for n in range(500))


def test_a_share_is_about_kept():
    met = sum(meets(Fault("error", share=0.2), f"k{n}") for n in range(4000))
    assert 680 < met < 920


def test_the_same_asking_meets_the_same_fate():
    fault = Fault("error", share=0.5)
    once = [meets(fault, f"k{n}", time=3) for n in range(200)]
    assert once == [meets(fault, f"k{n}", time=3) for n in range(200)]


@pytest.mark.parametrize("other", [{"time": 2}, {"page": 2}, {"seed": 1}, {"path": "/api/search"}])
def test_another_time_page_door_or_seed_is_another_draw(other: dict[str, int]):
    """So a repeat may succeed."""
    fault = Fault("error", share=0.5)
    assert [meets(fault, f"k{n}") for n in range(100)] != [meets(fault, f"k{n}", **other) for n in range(100)]


def test_chosen_keywords_are_met_in_any_form_and_no_others():
    fault = Fault("captcha", keywords=("Cafe\u0301  au lait",))
    assert meets(fault, "Café au lait")
    assert not meets(fault, "tea")


def test_first_ends_a_fault():
    fault = Fault("error", keywords=("k",), first=2)
    assert [meets(fault, time=n) for n in (1, 2, 3)] == [True, True, False]
    assert not meets(Fault("error", share=1.0, first=0))


def test_a_fault_stands_behind_its_own_doors():
    fault = Fault("unavailable", share=1.0, paths=("/robots.txt",))
    assert meets(fault, "", path="/robots.txt")
    assert not meets(fault)


def test_slowness_goes_with_another_fault_and_the_first_of_others_wins():
    faults = [Fault("slow", share=1.0, seconds=0.5), Fault("error", share=1.0), Fault("reset", share=1.0)]
    delay, fault = chosen(faults, Question("/search", "k", 1, 1))
    assert (delay, fault) == (0.5, faults[1])


@pytest.mark.parametrize(
    "wrong", [b'{"kind":"boredom"}', b'{"kind":"slow","share":2}', b'{"kind":"slow","often":1}']
)
def test_a_fault_nobody_knows_is_refused(wrong: bytes):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(wrong, type=Fault)


def allowed(quota: Quota, moments: list[float]) -> list[float]:
    state: QuotaState | None = None
    answered = []
    for now in moments:
        state, wait = spend(quota, state, now)
        if not wait:
            answered.append(now)
    return answered


@pytest.mark.parametrize(("limit", "burst"), [(5.0, 1), (5.0, 10), (0.5, 2), (40.0, 3)])
def test_no_window_sees_more_than_the_quota(limit: float, burst: int):
    """However many ask: at most limit·w + burst in every window, and not much less where all keep asking."""
    answered = allowed(Quota(limit, burst), [n / 100 for n in range(2000)])
    for first in range(len(answered)):
        for last in range(first, len(answered)):
            width = answered[last] - answered[first]
            assert last - first + 1 <= limit * width + burst + 1e-6
    assert len(answered) >= 0.75 * limit * 20


def test_who_waits_as_told_is_answered():
    state, wait = spend(Quota(2.0), None, 0.0)
    assert wait == 0.0
    state, wait = spend(Quota(2.0), state, 0.1)
    assert 0.0 < wait <= 0.5
    assert spend(Quota(2.0), state, 0.1 + wait)[1] == 0.0


def test_with_a_rest_one_request_too_many_closes_the_engine():
    quota = Quota(10.0, 1, rest=5.0)
    assert allowed(quota, [0.0, 0.01, 0.5, 4.9, 5.02]) == [0.0, 5.02]
