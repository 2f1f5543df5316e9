"""One contract for every store of pace states: changes happen wholly, one after another, for everyone."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import keys
from pipeline.errors import StorageUnavailable
from pipeline.pacers.dynamodb import DynamoPaceStore
from pipeline.pacers.folder import FolderPaceStore
from pipeline.pacers.memory import MemoryPaceStore
from pipeline.pacers.pacer import Pacer, PaceStore
from pipeline.pacers.redis import RedisPaceStore
from stages.pace import Lease, PaceState, Wait
from stages.rate_headers import Allowance
from stages.source import Politeness
from tests import servers
from tests.pipeline.kit import Clock
from tests.pipeline.test_dynamodb import TABLE, pace_table

TERMS = Politeness(rate=10, burst=2, rest=30)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of this module's own."""
    try:
        server = servers.start_redis(tmp_path_factory.mktemp("redis"))
    except servers.Missing as missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(missing))
    yield server.url
    server.stop()


@pytest.fixture(params=["memory", "folder", "redis", "dynamodb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PaceStore]:
    if request.param == "redis":
        kept = RedisPaceStore(request.getfixturevalue("redis_url"), tmp_path.name)
        yield kept
        kept.close()
    elif request.param == "dynamodb":
        with pace_table() as client:
            yield DynamoPaceStore(client, TABLE)
    else:
        yield MemoryPaceStore() if request.param == "memory" else FolderPaceStore(tmp_path)


def test_a_new_source_is_open(store: PaceStore):
    """Nothing stored means nothing used and nothing closed."""
    assert store.read("engine") == PaceState()
    assert isinstance(Pacer(store, Clock()).lease("engine", TERMS, 5), Lease)


def test_leases_follow_one_another(store: PaceStore):
    """Two holders never share a slot."""
    pacer = Pacer(store, Clock())
    first, second = pacer.lease("engine", TERMS, 20), pacer.lease("engine", TERMS, 20)
    assert isinstance(first, Lease)
    assert isinstance(second, Lease)
    assert second.start == pytest.approx(first.start + 2.0)


def test_sources_do_not_share_a_state(store: PaceStore):
    """Closing one engine closes no other."""
    pacer = Pacer(store, Clock())
    pacer.refuse("one", TERMS, None, "http_429")
    assert isinstance(pacer.lease("one", TERMS, 1), Wait)
    assert isinstance(pacer.lease("two", TERMS, 1), Lease)


def test_a_refusal_is_seen_by_everyone_at_once(store: PaceStore):
    """Another pacer on the same store gives no lease until the source's rest is over, and then one."""
    clock = Clock()
    one, two = Pacer(store, clock), Pacer(store, clock)
    closed = one.refuse("engine", TERMS, None, "http_403")
    assert closed.closed_until == clock() + 30
    assert two.lease("engine", TERMS, 5) == Wait(clock() + 30, "closed")
    clock.now += 30
    trial = two.lease("engine", TERMS, 5)
    assert isinstance(trial, Lease)
    assert (trial.count, trial.trial) == (1, True)
    waiting = one.lease("engine", TERMS, 5)
    assert isinstance(waiting, Wait)
    assert waiting.reason == "trial"
    two.answered("engine")
    assert isinstance(one.lease("engine", TERMS, 5), Lease)


def test_threads_that_lease_at_once_share_no_slot(store: PaceStore):
    """Every slot is given once, whoever asks at the same time."""
    pacer = Pacer(store, Clock())
    given: list[Lease | Wait] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        given.extend(pacer.lease("engine", TERMS, 3) for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    starts = sorted(lease.start for lease in given if isinstance(lease, Lease))
    assert len(starts) == 80
    assert all(later - sooner >= 0.3 - 1e-6 for sooner, later in pairwise(starts))


def test_of_many_who_are_refused_at_once_one_closed_the_source(store: PaceStore):
    """Whoever's change opened or closed it is one: what is to be told is stored once, with that change."""
    clock = Clock()
    pacers = [Pacer(store, clock).asking_for(f"run{number}", "0") for number in range(8)]
    barrier = threading.Barrier(8)

    def each(move: Callable[[Pacer], object]) -> None:
        def act(pacer: Pacer) -> None:
            barrier.wait()
            move(pacer)

        threads = [threading.Thread(target=act, args=(pacer,)) for pacer in pacers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    each(lambda pacer: pacer.refuse("engine", TERMS, None, "http_429"))
    clock.now += 30
    assert isinstance(pacers[0].lease("engine", TERMS, 1), Lease)
    each(lambda pacer: pacer.answered("engine"))
    events = pacers[0].untold("engine")
    assert [event.event for event in events] == ["closed", "reopened"]
    assert events[0].run_id.startswith("run")
    pacers[0].told("engine", events)
    assert store.read("engine").untold == ()
    assert pacers[0].untold("engine") == ()


def take(where: str, answers: multiprocessing.Queue[list[float]]) -> None:
    """One of several processes that lease from one store."""
    kept = RedisPaceStore(where, "t") if where.startswith("redis:") else FolderPaceStore(Path(where))
    pacer = Pacer(kept, Clock())
    leases = [pacer.lease("engine", TERMS, 2) for _ in range(40)]
    answers.put([lease.start for lease in leases if isinstance(lease, Lease)])


@pytest.mark.parametrize("kind", ["folder", "redis"])
def test_processes_share_one_rate(tmp_path: Path, kind: str, request: pytest.FixtureRequest):
    """Through the lake on one machine, through Redis on several: no slot is given twice."""
    where = request.getfixturevalue("redis_url") if kind == "redis" else str(tmp_path)
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    processes = [context.Process(target=take, args=(where, answers)) for _ in range(4)]
    for process in processes:
        process.start()
    starts = sorted(start for _ in processes for start in answers.get(timeout=60))
    for process in processes:
        process.join(30)
    assert len(starts) == 160
    assert all(later - sooner >= 0.2 - 1e-6 for sooner, later in pairwise(starts))


def test_a_change_that_raises_changes_nothing(store: PaceStore):
    """What a holder could not decide is not half stored, and the store is not left locked."""

    def broken(_state: PaceState) -> tuple[PaceState, None]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.change("engine", broken)
    assert store.read("engine") == PaceState()

    def bump(state: PaceState) -> tuple[PaceState, int]:
        return msgspec.structs.replace(state, leases=1), 7

    assert store.change("engine", bump) == 7
    assert store.read("engine").leases == 1


def test_a_closed_source_stays_closed_over_a_restart(tmp_path: Path):
    """A new process on the same lake does not ask a source that said no."""
    clock = Clock()
    Pacer(FolderPaceStore(tmp_path), clock).refuse("engine", TERMS, clock() + 3600, "http_429")
    assert Pacer(FolderPaceStore(tmp_path), clock).lease("engine", TERMS, 1) == Wait(clock() + 3600, "closed")


def test_a_damaged_state_stops_instead_of_asking(tmp_path: Path):
    """Where the pace cannot be known nothing is asked; the sentence names the file."""
    path = tmp_path / keys.pace("engine")
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(StorageUnavailable, match=r"engine\.json"):
        Pacer(FolderPaceStore(tmp_path), Clock()).lease("engine", TERMS, 1)


def test_a_redis_that_is_away_stops_instead_of_asking():
    """No pacer, no request: the worker waits and tries again."""
    with pytest.raises(StorageUnavailable, match="Redis"):
        Pacer(RedisPaceStore("redis://127.0.0.1:1/0", "t"), Clock()).lease("engine", TERMS, 1)


def test_a_quota_is_counted_over_all_who_share_the_store(store: PaceStore):
    """Four pacers, one day's quota: what one gives back another leases, and twice gains nothing."""
    clock = Clock()
    terms = msgspec.structs.replace(TERMS, rate=1_000.0, burst=500, quota=100)
    pacers = [Pacer(store, clock) for _ in range(4)]
    leases = [pacer.lease("engine", terms, 30) for pacer in pacers]
    assert [lease.count for lease in leases if isinstance(lease, Lease)] == [30, 30, 30, 10]
    waiting = pacers[0].lease("engine", terms, 1)
    assert isinstance(waiting, Wait)
    assert waiting.reason == "quota"
    assert store.read("engine").spent_until == waiting.until
    first = leases[0]
    assert isinstance(first, Lease)
    pacers[0].give_back("engine", first, 2, missed=5)
    pacers[0].give_back("engine", first, 2, missed=5)
    again = pacers[3].lease("engine", terms, 30)
    assert isinstance(again, Lease)
    assert again.count == 7


def test_what_the_engine_s_headers_ask_for_holds_for_everyone(store: PaceStore):
    """Nothing until the window begins anew, then slower for a while; saying it again stores nothing."""
    clock = Clock()
    one, two = Pacer(store, clock), Pacer(store, clock)
    said = Allowance(hold=clock() + 30, rate=2.0)
    state = one.slow("engine", TERMS, said, clock())
    assert store.read("engine") == state
    assert two.lease("engine", TERMS, 5) == Wait(clock() + 30, "rate")
    stored: list[PaceState] = []

    class Watched:
        read = staticmethod(store.read)

        def change(self, source: str, how: Callable[[PaceState], tuple[PaceState, Any]]) -> Any:
            def watched(state: PaceState) -> tuple[PaceState, Any]:
                after, answer = how(state)
                stored.extend([after] if after != state else [])
                return after, answer

            return store.change(source, watched)

    Pacer(Watched(), clock).slow("engine", TERMS, said, clock())
    assert stored == []
    clock.now += 30
    after = two.lease("engine", TERMS, 50)
    assert isinstance(after, Lease)
    assert after.interval == 0.5
