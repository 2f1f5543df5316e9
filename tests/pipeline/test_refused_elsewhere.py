"""Refusals that a holder of a lease learns of late, and sources that refuse their trials too."""

from __future__ import annotations

import asyncio
import math
import time

import msgspec
import pytest

from pipeline.http_client import Slot
from pipeline.pacers.memory import MemoryPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.retrieve import Retrieved, retrieve
from stages.pace import PaceState
from stages.records import Batch, Request, Response
from stages.source import Limits
from tests.pipeline.kit import API, Clock, Engine, answer, http, make_batch, make_retriever


class Distant(MemoryPaceStore):
    """A store that answers after a while, as one at the other end of a network does."""

    def __init__(self, latency: float) -> None:
        super().__init__()
        self.latency = latency

    def read(self, source: str) -> PaceState:
        time.sleep(self.latency)
        return super().read(source)


@pytest.mark.parametrize(
    ("retry_after", "ahead", "latency"),
    [(0, 0.0, 0.1), (1, 0.0, 0.1), (2, 0.0, 0.1), (1, 2.0, 0.0), (2, 2.0, 0.1), (1, -2.0, 0.0)],
)
def test_a_short_refusal_elsewhere_stops_whoever_holds_a_lease(
    retry_after: int, ahead: float, latency: float
):
    """However soon the engine wants to be asked again, and whatever the clock says, one trial comes first.

    It looks after the moment that the engine named, or believes so: the source is closed all the same.
    """
    store = Distant(latency)
    engine = Engine(clock=time.time)

    def clock() -> float:
        return time.time() + ahead

    retriever = make_retriever(engine, clock, Pacer(store, clock), rate=10, burst=1)
    other = Pacer(store, time.time)

    async def both() -> tuple[float, Retrieved]:
        task = asyncio.create_task(
            retrieve(make_batch([f"k{n}" for n in range(60)]), retriever, lambda: math.inf)
        )
        await asyncio.sleep(1.03)  # so that the store changes right after a look
        refused_at = time.time()
        terms = retriever.source.spec.politeness
        await asyncio.to_thread(other.refuse, API, terms, refused_at + retry_after, "http_429")
        return refused_at, await task

    refused_at, retrieved = asyncio.run(both())
    assert other.state(API).closed_since
    assert engine.moments
    assert max(engine.moments) <= refused_at + 2
    assert len(retrieved.pages) + len(retrieved.left) == 60


def test_the_trial_goes_on_through_the_looks_at_the_source():
    """Who makes the trial sees the source closed, and waits for the answer all the same."""

    class Slow(Engine):
        async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
            response = await super().send(request, limits, slot)
            await asyncio.sleep(1.5)
            return response

    store = MemoryPaceStore()
    engine = Slow(clock=time.time)
    pacer = Pacer(store, time.time)
    retriever = make_retriever(engine, time.time, pacer, rate=100, burst=1, concurrency=1)
    pacer.refuse(API, retriever.source.spec.politeness, time.time() + 1, "http_429")
    time.sleep(1.01)
    retrieved = asyncio.run(retrieve(make_batch(["a", "b"]), retriever, lambda: math.inf))
    assert [page.status for page in retrieved.pages] == ["ok", "ok"]
    assert not pacer.state(API).closed_since


def test_a_trial_that_was_never_sent_is_the_next_one_s():
    """Out of time before its slot, a holder keeps nobody waiting for an answer that cannot come."""
    store = MemoryPaceStore()
    engine = Engine(clock=time.time)
    pacer = Pacer(store, time.time)
    retriever = make_retriever(engine, time.time, pacer, rate=0.1, burst=1)
    terms = retriever.source.spec.politeness
    pacer.lease(API, terms, 1)  # so that the next slot is seconds away
    pacer.refuse(API, terms, time.time() + 1, "http_429")
    time.sleep(1.01)
    deadline = time.time() + 1
    retrieved = asyncio.run(retrieve(make_batch(["a"]), retriever, lambda: deadline))
    assert engine.asked == []
    assert retrieved.left
    assert pacer.state(API).closed_since
    assert not pacer.state(API).trial_until


def test_a_trial_is_nobody_else_s_for_as_long_as_its_answer_may_take():
    """A source that may take ten minutes to answer has one trial open, not one a minute."""
    clock = Clock()
    pacer = Pacer(MemoryPaceStore(), clock)
    open_until: list[float] = []

    class Looking(Engine):
        async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
            response = await super().send(request, limits, slot)
            open_until.append(pacer.state(API).trial_until)
            return response

    retriever = make_retriever(Looking(clock=clock), clock, pacer, rest=60)
    spec = retriever.source.spec
    spec = msgspec.structs.replace(spec, limits=msgspec.structs.replace(spec.limits, timeout=600.0))
    source = msgspec.structs.replace(retriever.source, spec=spec)
    pacer.refuse(API, spec.politeness, None, "http_429")
    clock.now += 61
    patient = msgspec.structs.replace(retriever, source=source)
    asyncio.run(retrieve(make_batch(["a"]), patient, lambda: math.inf))
    assert open_until[0] > clock() + 600


class Refusing(Engine):
    """An engine that refuses whatever it is asked, and names the moment."""

    async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
        await super().send(request, limits, slot)
        return http(429, retry_after="60")


def test_a_source_that_refuses_its_trials_ends_its_tasks_after_max_closed():
    """Although each refusal says that it will be over in a minute: an hour of them was an hour closed."""
    clock = Clock()
    engine = Refusing(clock=clock)
    pacer = Pacer(MemoryPaceStore(), clock)
    retriever = make_retriever(engine, clock, pacer, max_closed=3_600, rate=1, burst=1, concurrency=1)
    waiting: dict[int, Batch] = {
        number: make_batch([f"b{number}-{n}" for n in range(10)], batch_no=number) for number in range(20)
    }
    start, pages = clock.now, 0
    while waiting and clock.now < start + 86_400:
        for number, batch in list(waiting.items()):
            done = asyncio.run(retrieve(batch, retriever, lambda: math.inf))
            pages += len(done.pages)
            if done.left:
                waiting[number] = msgspec.structs.replace(batch, tasks=done.left)
            else:
                del waiting[number]
        clock.now += 30
    assert pages == 200
    assert clock.now - start <= 3_600 + 300
    assert len(engine.asked) <= 3_600 / 60 + 5


def test_a_redirect_that_robots_does_not_judge_is_followed_as_before():
    """An interface without robots.txt follows redirects on its host without asking for rules."""
    moved = http(302, location="http://127.0.0.1:8650/api/search?q=a&page=1")
    engine = Engine({"a": [moved, answer("a")]})
    retrieved = asyncio.run(retrieve(make_batch(["a"]), make_retriever(engine, time.time), lambda: math.inf))
    assert [page.status for page in retrieved.pages] == ["ok"]
    assert len(engine.asked) == 2
