"""The models keep the promises of what they stand for, and break only those that it may break."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from functools import partial
from random import Random

import msgspec
import pytest
from pyiceberg.expressions import And, In

from pipeline.errors import CommitConflict, QueueUnavailable, StorageUnavailable
from pipeline.iceberg import between, equal
from pipeline.simulate.catalog import Catalog, SimulatedTables
from pipeline.simulate.deployment import draw_deployment
from pipeline.simulate.faults import LANDING, Faults, Killed, Life, Violation
from pipeline.simulate.files import draw_file
from pipeline.simulate.loop import VirtualLoop
from pipeline.simulate.mail import MAX_RECEIVES, Mail
from pipeline.simulate.operators import lives
from pipeline.simulate.pace import Paces, SimulatedPaceStore
from pipeline.simulate.queues import SimulatedBroker, SimulatedQueue
from pipeline.simulate.readers import Reader, compact
from pipeline.simulate.storage import Bucket, SimulatedStorage
from pipeline.simulate.timeline import Timeline
from pipeline.simulate.trace import Trace
from pipeline.simulate.weather import Weather
from pipeline.simulate.where import bounds_of
from pipeline.simulate.world import Parts, World
from stages.closings import noted
from stages.pace import PaceState
from stages.run import Options, SourceTerms
from stages.tables import PAGES
from tests.pipeline.kit import make_run

KEY = ("2027-01-15", "alpha", "run1", 0, 1, 0)
ROW = ("a", 1, "en-US", "desktop", "ok")


def make_faults(**weather: float) -> Faults:
    random = Random(1)
    faults = Faults(Timeline(random), random, Trace())
    faults.weather = Weather(**weather)
    return faults


def make_queue(faults: Faults, lost: list[bytes] | None = None) -> SimulatedQueue:
    mail = Mail(faults, lost.append if lost is not None else lambda _: None)
    return SimulatedBroker(mail, faults, Life("test")).queue("q")


def make_storage(faults: Faults, bucket: Bucket, made: list[str] | None = None) -> SimulatedStorage:
    told = made if made is not None else []
    return SimulatedStorage(bucket, faults, Life("test"), lambda key: partial(told.append, key))


def test_time_jumps_to_who_is_next_and_one_actor_runs_at_a_time():
    """Nobody sleeps in real time, and the order is that of the moments."""
    timeline = Timeline(Random(1))
    began = timeline.now
    seen: list[tuple[str, float]] = []

    def tick(name: str, seconds: float) -> None:
        for _ in range(3):
            timeline.sleep(seconds)
            seen.append((name, timeline.now - began))

    timeline.spawn("slow", lambda: tick("slow", 1000.0))
    timeline.spawn("quick", lambda: tick("quick", 400.0))
    timeline.sleep(10_000.0)
    timeline.close()
    assert [name for name, _ in seen] == ["quick", "quick", "slow", "quick", "slow", "slow"]
    assert [at for _, at in seen] == [400.0, 800.0, 1000.0, 1200.0, 2000.0, 3000.0]


def test_an_actor_that_fails_fails_the_simulation():
    timeline = Timeline(Random(1))

    def fail() -> None:
        raise Violation("lost")

    timeline.spawn("failing", fail)
    with pytest.raises(Violation, match="lost"):
        timeline.sleep(1.0)
    timeline.close()


def test_a_loop_waits_in_virtual_time_alone():
    """An hour of a coroutine is no time at all, and what it hands to a thread is called at once."""
    timeline = Timeline(Random(1))
    began = timeline.now

    async def work() -> int:
        await asyncio.sleep(3600.0)
        return await asyncio.to_thread(lambda: 7)

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(timeline)) as runner:
        assert runner.run(work()) == 7
    assert timeline.now - began == pytest.approx(3600.0)


def test_a_dead_process_does_nothing_more():
    """What it still tries, in a ``finally`` for instance, does not happen."""
    faults = make_faults(kill=1.0)
    bucket = Bucket()
    storage = make_storage(faults, bucket)
    with pytest.raises(Killed):
        storage.put("a", b"1")
    faults.weather = Weather()
    with pytest.raises(Killed):
        storage.put("a", b"1")
    assert not bucket.objects


def test_a_lost_reply_is_an_error_of_what_happened_and_a_throttle_of_what_did_not():
    bucket = Bucket()
    with pytest.raises(StorageUnavailable, match="lost"):
        make_storage(make_faults(lost_reply=1.0), bucket).put("a", b"1")
    with pytest.raises(StorageUnavailable, match="throttled"):
        make_storage(make_faults(throttle=1.0), bucket).put("b", b"1")
    assert bucket.objects == {"a": b"1"}


def test_what_was_given_up_lands_a_little_later():
    """An error is told, and seconds later it happens all the same, whoever is still there to see it."""
    bucket, faults = Bucket(), make_faults(belated=1.0)
    with pytest.raises(StorageUnavailable, match="timed out"):
        make_storage(faults, bucket).put("a", b"1")
    assert not bucket.objects
    faults.timeline.sleep(LANDING)
    assert bucket.objects == {"a": b"1"}
    faults.timeline.close()


def test_a_pace_that_lands_late_replaces_only_what_it_was_made_of():
    """As a conditional write does; and whatever was a closing in a stored state is remembered."""
    faults, paces = make_faults(belated=1.0), Paces()
    store = SimulatedPaceStore(paces, faults, Life("test"))
    for second in (False, True):
        before = paces.state("alpha")
        with pytest.raises(StorageUnavailable):
            store.change("alpha", lambda state: (msgspec.structs.replace(state, leases=state.leases + 1), 0))
        if second:
            paces.store("alpha", before := msgspec.structs.replace(before, tat=7.0))
        faults.timeline.sleep(LANDING)
        assert paces.state("alpha") == (before if second else PaceState(leases=1))
    closed = noted(PaceState(), PaceState(closed_since=1.0, closed_until=2.0), "alpha", 1.0)
    paces.store("alpha", closed)
    paces.store("alpha", PaceState())
    assert [event.event for event in paces.happened.values()] == ["closed"]
    faults.timeline.close()


@pytest.mark.parametrize("weather", [{"lost_reply": 0.5}, {"belated": 0.5}, {"conflict": 0.5}, {"kill": 0.2}])
def test_a_compaction_under_faults_loses_and_doubles_nothing(weather: dict[str, float]):
    """Killed, told an error or beaten by an append: every batch stays, once, and files become fewer."""
    world = World(Random(1), Parts())
    catalog = world.catalog
    batches = [(*KEY[:4], number, 0) for number in range(40)]
    world.faults.weather = Weather(**weather)
    for key in batches:
        current = catalog.current(PAGES.name)
        catalog.commit(current, [*current.files, catalog.new_file(pages={key: (ROW,) * 4})])
        lives(world, "compact", partial(compact, world))
    world.timeline.sleep(LANDING)
    last = catalog.current(PAGES.name)
    assert Counter(key for key, _ in last.batches()) == Counter(batches)
    assert len(last.files) < 20
    world.timeline.close()


def test_a_conditional_write_that_lost_its_own_reply_says_that_one_was_there():
    """As a driver's own repetition does: whoever reads finds this very write."""
    bucket, made = Bucket(), list[str]()
    storage = make_storage(make_faults(), bucket, made)
    assert storage.put_new("a", b"1")
    assert not storage.put_new("a", b"2")
    assert (storage.get("a"), made) == (b"1", ["a"])
    faults = make_faults(lost_reply=0.4)
    told = []
    for number in range(40):
        with suppress(StorageUnavailable):
            told.append(make_storage(faults, bucket).put_new(f"n{number}", b""))
    assert set(told) == {True, False}
    assert all(f"n{number}" in bucket.objects for number in range(40))


def test_a_message_is_delivered_until_it_is_acknowledged_and_then_buried():
    """Five deliveries, each taken back after its time, and the dead-letter queue has it."""
    faults, lost = make_faults(visibility=30.0), list[bytes]()
    queue = make_queue(faults, lost)
    queue.send([b"1"])
    for receives in range(1, MAX_RECEIVES + 1):
        assert [one.receives for one in queue.receive(10, wait=0.0)] == [receives]
        assert queue.receive(10, wait=0.0) == []
        faults.timeline.sleep(31.0)
    assert queue.receive(10, wait=0.0) == []
    [dead] = queue.dead().receive(10, wait=0.0)
    assert (dead.body, lost) == (b"1", [b"1"])
    assert "5 times" in dead.receipt.reason
    with pytest.raises(Violation, match="not sent again"):
        queue.dead().ack(dead)
    queue.send([b"1"])
    queue.dead().ack(dead)
    faults.timeline.sleep(100.0)
    assert queue.dead().depth().waiting == 0


def test_an_acknowledged_message_never_comes_again():
    faults = make_faults(visibility=30.0)
    queue = make_queue(faults)
    queue.send([b"1", b"2"], delay=5.0)
    assert queue.receive(10, wait=0.0) == []
    faults.timeline.sleep(6.0)
    for one in queue.receive(10, wait=0.0):
        queue.ack(one)
    faults.timeline.sleep(100.0)
    assert (queue.receive(10, wait=0.0), queue.depth().in_flight) == ([], 0)


def test_messages_repeat_come_late_and_expire_as_the_weather_has_it():
    lost: list[bytes] = []
    queue = make_queue(make_faults(repeat=1.0), lost)
    queue.send([b"1"])
    assert queue.depth().waiting == 2
    queue = make_queue(make_faults(expire=1.0), lost)
    queue.send([b"1"])
    assert (queue.depth().waiting, lost) == (0, [b"1"])
    queue = make_queue(make_faults(throttle=0.9), lost)
    with pytest.raises(QueueUnavailable):
        queue.send([bytes([number]) for number in range(100)])


def test_a_commit_on_an_old_snapshot_conflicts():
    catalog = Catalog()
    seen = catalog.current(PAGES.name)
    catalog.commit(seen, [catalog.new_file(pages={KEY: (ROW,)})])
    with pytest.raises(CommitConflict):
        catalog.commit(seen, [catalog.new_file(pages={})])


def test_a_batch_that_is_committed_twice_is_noticed_at_once():
    catalog = Catalog()
    catalog.commit(catalog.current(PAGES.name), [catalog.new_file(pages={KEY: (ROW,)})])
    current = catalog.current(PAGES.name)
    with pytest.raises(Violation, match="2 times"):
        catalog.commit(current, [*current.files, catalog.new_file(pages={KEY: (ROW,)})])


def test_a_look_up_of_the_model_is_one_of_the_table():
    """Columns that equal a value, or lie between two."""
    bounds = bounds_of(And(equal("source", "alpha"), between("batch_no", 2, 3), In("cut", {0, 1})))
    rows = [
        {"source": one, "batch_no": number, "cut": cut}
        for one in ("alpha", "beta")
        for number in range(5)
        for cut in (0, 2)
    ]
    assert [tuple(row.values()) for row in rows if bounds.hold(row)] == [("alpha", 2, 0), ("alpha", 3, 0)]
    faults = make_faults()
    catalog = Catalog()
    other = (*KEY[:4], 9, 0)
    catalog.commit(catalog.current(PAGES.name), [catalog.new_file(pages={KEY: (ROW, ROW), other: (ROW,)})])
    tables = SimulatedTables(catalog, faults, Life("test"), 10)
    assert tables.cuts("run1", "2027-01-15", 0) == Counter({(1, 0): 2, (9, 0): 1})
    assert tables.ledger("run1", "2027-01-15").pages == {"ok": 3}


def test_a_reader_notices_half_a_batch_and_rows_that_change():
    """Whole commits, and the same rows for ever."""
    world = World(Random(1), Parts())
    reader = Reader(world)
    catalog = world.catalog
    catalog.commit(catalog.current(PAGES.name), [catalog.new_file(pages={KEY: (ROW,)})])
    with pytest.raises(Violation, match="1 of 0 pages"):
        reader.look()
    reader._before = {KEY: (ROW, ROW)}
    with pytest.raises(Violation, match="other rows"):
        reader.look()
    reader._before = {KEY: (ROW,)}
    reader.look()


def test_a_release_changes_what_a_release_may_change():
    """Sources, defaults, batch size and K differ between seeds, and all of them can be loaded."""
    drawn = [draw_deployment(Random(seed), 1) for seed in range(40)]
    for name in ("source", "parts", "batch_size", "horizon", "longest", "copies", "backlog", "lane_rest"):
        assert len({getattr(one, name) for one in drawn}) > 1, name
    assert len({one.loaded["alpha"].source.hash for one in drawn}) > 10


def test_what_is_known_of_a_file_adds_up():
    """Lines are kept, duplicates or rejects, in every format and way of entering."""
    ways = set()
    for seed in range(60):
        file = draw_file(Random(seed), 1, 50)
        ways.add((file.way, file.key.rpartition(".")[2]))
        terms = dict.fromkeys(("alpha", "beta"), SourceTerms("x", 2))
        options = Options("alpha", "en-US", "desktop", 1)
        run = make_run(file.key, options=options, sources=terms)
        tasks, kept, duplicates, rejected = file.expected(run)
        assert kept + duplicates + rejected == len(file.rows)
        assert set(tasks.values()) == {1}
        assert not file.expected(make_run(file.key, options=options, refused="no"))[0]
    assert len(ways) >= 5
