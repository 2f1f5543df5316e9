"""Retrieving within limits beyond the rate: a day's quota, and what the engine's own headers say."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from pipeline.http_client import Slot
from pipeline.pacers.memory import MemoryPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.permission import WATCH
from pipeline.retrieve import Retrieved, Retriever, retrieve
from stages.pace import PaceState
from stages.quota import quota_day
from stages.records import Request, Response, Task
from stages.source import Limits
from tests.pipeline.kit import API, Clock, Engine, answer, make_batch, make_retriever


def run(retriever: Retriever, keywords: list[str]) -> Retrieved:
    return asyncio.run(retrieve(make_batch(keywords), retriever, lambda: math.inf))


def limited(keyword: str, **headers: str) -> Response:
    """A good answer with headers."""
    good = answer(keyword)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return msgspec.structs.replace(good, headers=good.headers | named)


class Counting(MemoryPaceStore):
    """A store that counts the changes it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = 0

    def change(self, source: str, how: Callable[[PaceState], tuple[PaceState, Any]]) -> Any:
        before = self.read(source)
        given = super().change(source, how)
        self.kept += self.read(source) != before
        return given


def test_a_quota_that_is_spent_leaves_the_rest_for_the_next_day():
    """No attempt is spent, and the wait is until the engine's new day."""
    clock = Clock()
    engine = Engine(clock=clock)
    retriever = make_retriever(engine, clock, quota=2, concurrency=1)
    retrieved = run(retriever, ["a", "b", "c", "d"])
    assert engine.asked == [("a", 1), ("b", 1)]
    assert retrieved.left == (Task("c"), Task("d"))
    assert retrieved.delay == quota_day("00:00", clock()).following - clock()


def test_slots_that_were_missed_are_not_counted_in_the_quota():
    """A slow engine makes us forfeit slots, and the day's quota counts what was asked."""

    class Slow(Engine):
        async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
            response = await super().send(request, limits, slot)
            await asyncio.sleep(0.7)
            return response

    engine = Slow(clock=time.time)
    pacer = Pacer(MemoryPaceStore(), time.time)
    retriever = make_retriever(engine, time.time, pacer, rate=5, burst=1, concurrency=1, quota=1_000)
    run(retriever, [f"k{n}" for n in range(4)])
    assert len(engine.asked) == 4
    assert pacer.state(API).quota_used == 4
    assert pacer.state(API).leases >= 2


def test_an_engine_with_nothing_left_is_not_asked_before_its_window_begins_anew():
    """Neither by who read it nor, a look later, by another who has slots in hand."""
    engine = Engine({"a0": [limited("a0", x_ratelimit_remaining="0", x_ratelimit_reset="4")]}, time.time)
    pacer = Pacer(MemoryPaceStore(), time.time)
    retriever = make_retriever(engine, time.time, pacer, rate=20, burst=1, concurrency=1)

    async def both() -> list[Retrieved]:
        batches = [make_batch([f"{name}{n}" for n in range(40)]) for name in "ba"]
        return await asyncio.gather(*(retrieve(batch, retriever, lambda: math.inf) for batch in batches))

    done = asyncio.run(both())
    said_at = engine.moments[engine.asked.index(("a0", 1))]
    between = [moment for moment in engine.moments if said_at + WATCH + 0.5 < moment < said_at + 4]
    assert between == []
    assert sum(len(one.pages) for one in done) == 80
    assert max(engine.moments) > said_at + 4


def test_a_slower_pace_in_the_headers_is_kept_and_stored_once():
    """Fifty answers that all say the same cost one write."""
    said = {"ratelimit_policy": '"all";q=40;w=1', "ratelimit": '"all";r=20;t=1'}
    engine = Engine({f"k{n}": [limited(f"k{n}", **said)] for n in range(50)}, time.time)
    store = Counting()
    retriever = make_retriever(engine, time.time, Pacer(store, time.time), burst=1, concurrency=1)
    first = [f"k{n}" for n in range(10)]
    run(retriever, first)
    assert store.read(API).slow_rate == 40
    kept = store.kept
    run(retriever, [f"k{n}" for n in range(10, 50)])
    assert store.kept - kept <= 2  # a lease, and what came back of it
    assert engine.moments[-1] - engine.moments[10] >= 38 / 40


@pytest.mark.parametrize("status", [429, 403])
def test_a_refusal_waits_for_the_moment_that_its_headers_name(status: int):
    """Without Retry-After too: the trial comes when the window begins anew, and not after our own rest."""
    clock = Clock()
    refusal = Response(
        status, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{clock() + 900:.0f}"}, b"", "", 5
    )
    engine = Engine({"a": [refusal]}, clock)
    pacer = Pacer(MemoryPaceStore(), clock)
    retriever = make_retriever(engine, clock, pacer, concurrency=1, rest=60)
    run(retriever, ["a", "b"])
    clock.now += 300
    assert run(retriever, ["b"]).delay == pytest.approx(600)
    assert engine.asked == [("a", 1)]
    clock.now += 600
    assert len(run(retriever, ["b"]).pages) == 1


def test_headers_that_say_nothing_new_ask_the_store_nothing():
    """A generous engine costs no look beyond what leases cost."""
    said = {"x_ratelimit_limit": "5000", "x_ratelimit_remaining": "4000", "x_ratelimit_reset": "60"}
    plain, store = Counting(), Counting()
    clock = Clock()
    for kept, headers in ((plain, {}), (store, said)):
        engine = Engine({f"k{n}": [limited(f"k{n}", **headers)] for n in range(20)}, clock)
        run(make_retriever(engine, clock, Pacer(kept, clock), concurrency=1), [f"k{n}" for n in range(20)])
    assert store.kept == plain.kept


class Tiring(Engine):
    """An engine that answers at once for a while, and then slowly; it knows how many it has in hand."""

    def __init__(self, quick: int) -> None:
        super().__init__(clock=time.time)
        self.quick = quick
        self.open = 0
        self.together: list[int] = []

    async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
        self.open += 1
        self.together.append(self.open)
        took = 0.01 if len(self.asked) < self.quick else 0.2
        response = await super().send(request, limits, slot)
        await asyncio.sleep(took)
        self.open -= 1
        # Answers of seconds, in tenths of the time.
        return msgspec.structs.replace(response, latency_ms=round(took * 10_000))


def test_an_engine_that_tires_is_asked_with_fewer_requests_at_once():
    """What is slower than usual is asked for one after another, in this batch and in the next."""
    engine = Tiring(quick=20)
    retriever = make_retriever(engine, time.time, rate=30, burst=1, concurrency=8)
    done = run(retriever, [f"k{n}" for n in range(45)])
    assert len(done.pages) == 45
    assert max(engine.together) > 4
    assert max(engine.together[-8:]) <= 2
    before = len(engine.together)
    run(retriever, ["x", "y", "z"])
    assert max(engine.together[before:]) == 1
