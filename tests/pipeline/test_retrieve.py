"""Retrieving a batch: paced, stopped by a refusal, ended by a deadline, with nothing lost on the way."""

from __future__ import annotations

import asyncio
import math
import time

import msgspec
import pytest

from pipeline.errors import StorageUnavailable
from pipeline.pacers.memory import MemoryPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.retrieve import Retrieved, Retriever, retrieve
from stages.records import Task
from tests.pipeline.kit import (
    API,
    Clock,
    Engine,
    answer,
    broken,
    http,
    make_batch,
    make_retriever,
    windows_hold,
)

NEVER = math.inf


def run(
    retriever: Retriever, keywords: list[str] | None = None, deadline: float = NEVER, **fields: object
) -> Retrieved:
    batch = make_batch(keywords if keywords is not None else ["a", "b", "c"], **fields)
    return asyncio.run(retrieve(batch, retriever, lambda: deadline))


def by_keyword(retrieved: Retrieved) -> dict[str, tuple[str, str, int]]:
    return {page.task.keyword: (page.status, page.reason, page.attempts) for page in retrieved.pages}


def test_every_task_ends_as_one_page():
    """A batch that meets no trouble leaves nothing."""
    engine = Engine()
    retrieved = run(make_retriever(engine, time.time), [f"k{n}" for n in range(40)])
    assert sorted(page.task.keyword for page in retrieved.pages) == sorted(f"k{n}" for n in range(40))
    assert retrieved.left == ()
    assert len(engine.asked) == 40


def test_a_failed_request_spends_an_attempt_and_is_left_for_later():
    """What may succeed later leaves with its attempt counted, and waits before it is tried again."""
    retrieved = run(make_retriever(Engine({"b": [http(500)]}), time.time))
    assert retrieved.left == (Task("b", attempts=1),)
    assert retrieved.delay > 0
    assert set(by_keyword(retrieved)) == {"a", "c"}


@pytest.mark.parametrize("trouble", [http(502), broken("timeout"), broken("connection"), broken("cut_short")])
def test_spent_attempts_end_a_task_as_failed(trouble):
    """A task ends as ``failed`` with the last reason, and with every request it took counted."""
    batch = make_batch([], tasks=(Task("b", attempts=2),))
    retriever = make_retriever(Engine({"b": [trouble]}), time.time)
    retrieved = asyncio.run(retrieve(batch, retriever, lambda: NEVER))
    assert retrieved.left == ()
    status, reason, attempts = by_keyword(retrieved)["b"]
    assert (status, attempts) == ("failed", 3)
    assert reason == (trouble.failure if trouble.failure else "http_502")


def test_a_refusal_stops_the_batch_and_spends_no_attempt():
    """After a refusal nothing more is sent; what was not asked keeps all its attempts."""
    engine = Engine({"a": [http(429, retry_after="30")]})
    pacer = Pacer(MemoryPaceStore(), time.time)
    retrieved = run(make_retriever(engine, time.time, pacer, concurrency=1), ["a", "b", "c", "d"])
    assert len(engine.asked) == 1
    assert set(retrieved.left) == {Task("a", refusals=1), Task("b"), Task("c"), Task("d")}
    assert 29 < retrieved.delay <= 30
    assert pacer.state(API).closed_until == pytest.approx(time.time() + 30, abs=1)


def test_a_task_that_is_refused_again_and_again_ends_as_refused():
    """One keyword that the engine never answers does not keep the source closed for ever."""
    batch = make_batch([], tasks=(Task("a", refusals=2),))
    retriever = make_retriever(Engine({"a": [http(403)]}), time.time)
    retrieved = asyncio.run(retrieve(batch, retriever, lambda: NEVER))
    assert by_keyword(retrieved)["a"] == ("refused", "http_403", 3)


def test_a_closed_source_is_not_asked():
    """While a source is closed its batch waits whole."""
    engine, pacer = Engine(), Pacer(MemoryPaceStore(), time.time)
    retriever = make_retriever(engine, time.time, pacer)
    pacer.refuse(API, retriever.source.spec.politeness, time.time() + 50, "http_429")
    retrieved = run(retriever)
    assert engine.asked == []
    assert retrieved.left == (Task("a"), Task("b"), Task("c"))
    assert 49 < retrieved.delay <= 50


def test_one_trial_request_reopens_a_source():
    """After the rest one request decides; answered, the rest of the batch follows."""
    clock = Clock()
    engine, pacer = Engine(clock=clock), Pacer(MemoryPaceStore(), clock)
    retriever = make_retriever(engine, clock, pacer)
    pacer.refuse(API, retriever.source.spec.politeness, clock() + 10, "http_429")
    clock.now += 11
    retrieved = run(retriever)
    assert len(retrieved.pages) == 3
    assert pacer.state(API).closed_since == 0


def test_a_trial_without_an_answer_closes_the_source_again():
    """Silence is no permission."""
    clock = Clock()
    engine, pacer = Engine({"a": [broken("timeout")]}, clock), Pacer(MemoryPaceStore(), clock)
    retriever = make_retriever(engine, clock, pacer)
    pacer.refuse(API, retriever.source.spec.politeness, clock() + 10, "http_429")
    clock.now += 11
    retrieved = run(retriever)
    assert engine.asked == [("a", 1)]
    assert pacer.state(API).closed_until > clock()
    assert len(retrieved.left) == 3


def test_a_refusal_elsewhere_stops_this_batch_within_two_seconds():
    """Holders of a lease look at the source every second."""
    engine = Engine(clock=time.time)
    pacer = Pacer(MemoryPaceStore(), time.time)
    retriever = make_retriever(engine, time.time, pacer, rate=10, burst=1)

    async def both() -> Retrieved:
        task = asyncio.create_task(
            retrieve(make_batch([f"k{n}" for n in range(80)]), retriever, lambda: NEVER)
        )
        await asyncio.sleep(0.5)
        pacer.refuse(API, retriever.source.spec.politeness, time.time() + 60, "http_429")
        return await task

    refused_at = time.time() + 0.5
    retrieved = asyncio.run(both())
    assert max(engine.moments) <= refused_at + 2
    assert len(retrieved.pages) + len(retrieved.left) == 80
    assert all(task.attempts == 0 for task in retrieved.left)


def test_a_source_closed_for_too_long_ends_its_tasks_as_refused():
    """After ``max_closed`` waiting tasks end, so that the run does."""
    clock = Clock()
    engine, pacer = Engine(), Pacer(MemoryPaceStore(), clock)
    retriever = make_retriever(engine, clock, pacer, max_closed=100, rest=500, max_rest=500)
    pacer.refuse(API, retriever.source.spec.politeness, None, "http_403")
    clock.now += 101
    retrieved = run(retriever)
    assert retrieved.left == ()
    assert by_keyword(retrieved) == dict.fromkeys("abc", ("refused", "http_403", 0))
    assert engine.asked == []


def test_tasks_do_not_end_in_the_minutes_before_a_source_opens():
    """Waited for so long, they wait the last moment too: the trial is about to say whether it was in vain."""
    clock = Clock()
    engine, pacer = Engine(), Pacer(MemoryPaceStore(), clock)
    retriever = make_retriever(engine, clock, pacer, max_closed=100, rest=500, max_rest=500)
    pacer.refuse(API, retriever.source.spec.politeness, None, "http_403")
    clock.now += 440
    retrieved = run(retriever)
    assert retrieved.pages == []
    assert len(retrieved.left) == 3
    assert retrieved.delay == pytest.approx(60)


def test_requests_keep_the_rate():
    """At the engine no window holds more requests than the rate and the burst allow."""
    engine = Engine(clock=time.time)
    started = time.time()
    retrieved = run(make_retriever(engine, time.time, rate=50, burst=3), [f"k{n}" for n in range(60)])
    assert len(retrieved.pages) == 60
    assert windows_hold(engine.moments, 50, 3, 0.25) == ""
    assert time.time() - started >= 57 / 50 - 0.05


def test_missed_slots_are_forfeited_not_made_up_for():
    """After a stall the slots that passed are gone; what comes then is as far apart as ever."""

    class Stalling(Engine):
        async def send(self, request, limits, slot=None):
            response = await super().send(request, limits, slot)
            if len(self.asked) <= 2:
                await asyncio.sleep(1.5)
            return response

    engine = Stalling(clock=time.time)
    keywords = [f"k{n}" for n in range(25)]
    retrieved = run(make_retriever(engine, time.time, rate=20, burst=1, concurrency=2), keywords)
    assert len(retrieved.pages) == 25
    assert windows_hold(engine.moments, 20, 1, 0.3) == ""


def test_a_deadline_ends_a_batch_and_leaves_the_rest():
    """Out of time, a batch leaves what it did not ask, untouched."""
    engine = Engine(clock=time.time)
    retriever = make_retriever(engine, time.time, rate=10, burst=1)
    started = time.time()
    retrieved = run(retriever, [f"k{n}" for n in range(60)], deadline=started + 1)
    assert time.time() - started < 3
    assert len(retrieved.pages) + len(retrieved.left) == 60
    assert all(task == Task(task.keyword) for task in retrieved.left)


def test_slots_that_were_not_needed_go_to_the_next():
    """A batch that stops early gives back the rest of its lease: whoever comes next need not wait for it."""
    pacer = Pacer(MemoryPaceStore(), time.time)
    retriever = make_retriever(Engine(), time.time, pacer, rate=10, burst=1)
    run(retriever, [f"k{n}" for n in range(60)], deadline=time.time() + 1)
    assert pacer.state(API).tat < time.time() + 0.5


def test_a_redirect_on_the_host_is_one_more_paced_request():
    """Following costs a slot of its own, and a loop of them ends."""
    here = "http://127.0.0.1:8650/api/search?q=a&page=1"
    engine = Engine(
        {"a": [http(302, location=here), http(302, location=here)], "b": [http(302, location=here)]}
    )
    retrieved = run(make_retriever(engine, time.time), ["a"])
    assert by_keyword(retrieved)["a"] == ("ok", "", 3)
    loop = Engine({"a": [http(302, location=here)] * 9})
    assert by_keyword(run(make_retriever(loop, time.time), ["a"]))["a"] == ("failed", "too_many_redirects", 3)


def test_a_redirect_that_cannot_be_followed_in_time_spends_an_attempt():
    """A source too slow for two requests of one batch is not asked the first of them for ever."""
    moved = http(302, location="http://127.0.0.1:8650/api/search?q=a&page=1&moved=1")

    def asked(task: Task) -> Retrieved:
        return run(make_retriever(Engine({"a": [moved]}), time.time, rate=0.001, burst=1), tasks=(task,))

    assert asked(Task("a")).left == (Task("a", attempts=1),)
    assert by_keyword(asked(Task("a", attempts=2)))["a"] == ("failed", "redirect_not_followed", 3)


def test_no_results_is_an_answer():
    """«Nothing found» is ok with no results; it never looks like a failure."""
    retrieved = run(make_retriever(Engine({"a": [answer("a", results=0)]}), time.time), ["a"])
    assert by_keyword(retrieved)["a"] == ("ok", "", 1)
    assert retrieved.pages[0].results == ()


@pytest.mark.parametrize("failure", ["cut_short", "timeout", "too_large"])
def test_a_refusal_whose_body_is_broken_is_a_refusal(failure: str):
    """The status line says no; what became of the rest of the answer changes nothing."""
    refusal = msgspec.structs.replace(http(429, retry_after="600"), failure=failure)
    engine = Engine({"a": [refusal]})
    retrieved = run(make_retriever(engine, time.time, concurrency=1), ["a", "b", "c"])
    assert len(engine.asked) == 1
    assert retrieved.delay > 590


def test_a_trial_that_breaks_off_does_not_reopen():
    """Half an answer is not an answer."""
    clock = Clock()
    engine = Engine({"a": [msgspec.structs.replace(answer("a"), failure="cut_short")]}, clock)
    pacer = Pacer(MemoryPaceStore(), clock)
    retriever = make_retriever(engine, clock, pacer)
    pacer.refuse(API, retriever.source.spec.politeness, clock() + 10, "http_429")
    clock.now += 11
    run(retriever)
    assert engine.asked == [("a", 1)]
    assert pacer.state(API).closed_since


def test_a_defect_in_reading_one_answer_costs_that_task_alone():
    """An answer that shows a defect of ours spends its own attempt; its neighbours' pages are kept."""

    def total(root, _url) -> str:
        if root["query"] == "poison":
            raise ZeroDivisionError
        return "3"

    retriever = make_retriever(Engine(), time.time)
    broken_rules = msgspec.structs.replace(retriever.extractor, total=total)
    retriever = msgspec.structs.replace(retriever, extractor=broken_rules)
    retrieved = run(retriever, ["a", "poison", "b"])
    assert set(by_keyword(retrieved)) == {"a", "b"}
    assert retrieved.left == (Task("poison", attempts=1),)


class Failing(MemoryPaceStore):
    """A store that stops answering after so many calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def read(self, source):
        self.calls -= 1
        if self.calls < 0:
            raise StorageUnavailable("the pace cannot be known")
        return super().read(source)


def test_where_the_pace_cannot_be_known_nothing_more_is_asked():
    """A store that fails in the middle of a batch stops it; what was answered is kept."""
    engine = Engine(clock=time.time)
    retriever = make_retriever(engine, time.time, Pacer(Failing(1), time.time), rate=20, burst=1)
    started = time.time()
    retrieved = run(retriever, [f"k{n}" for n in range(100)])
    assert max(engine.moments) - started < 2
    assert retrieved.pages
    assert len(retrieved.pages) + len(retrieved.left) == 100


def test_a_store_that_fails_at_once_fails_the_batch():
    """Nothing was asked, so the message goes back as it came, with the reason."""
    engine = Engine()
    with pytest.raises(StorageUnavailable):
        run(make_retriever(engine, time.time, Pacer(Failing(0), time.time)))
    assert engine.asked == []


def test_a_closure_of_long_ago_ends_nobody_s_wait():
    """Tasks that begin to wait today wait their time, although the source was closed three days ago too."""
    clock = Clock()
    pacer = Pacer(MemoryPaceStore(), clock)
    engine = Engine({"a": [http(429, retry_after="5")]}, clock)
    retriever = make_retriever(engine, clock, pacer, max_closed=86_400)
    pacer.refuse(API, retriever.source.spec.politeness, clock() + 60, "http_429")
    clock.now += 3 * 86_400
    first = run(retriever)
    assert len(first.left) == 3
    clock.now += 1
    assert run(retriever, ["x", "y"]).left == (Task("x"), Task("y"))
