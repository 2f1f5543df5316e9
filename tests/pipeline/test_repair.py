"""Repair: whatever was lost on its way comes again, nothing is asked twice, each task has one row."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from pipeline import keys
from pipeline import redrive as redriving
from pipeline.backlog import Room, release
from pipeline.errors import Misuse
from pipeline.redrive import redrive
from pipeline.repair import Repaired
from pipeline.run_control import say
from stages.records import Closing
from stages.run import Run
from stages.staged import encode_closing
from tests.pipeline.kit import API
from tests.pipeline.mending_kit import World, keywords, stumbling, text


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "lake")
    yield made
    made.close()


def whole(count: int) -> dict[tuple[object, ...], int]:
    return {(keyword, 1): 1 for keyword in keywords(count)}


@pytest.mark.parametrize(
    ("lost", "sent"),
    [
        ("shard", Repaired(parts=1)),
        ("fetch", Repaired(batches=3)),
        ("aggregate", Repaired(staged=4)),
    ],
)
def test_what_was_lost_is_sent_again_where_it_stopped(world: World, lost: str, sent: Repaired):
    """A part, its batches, or the commits of what is staged, the part's own row among them."""
    run = world.drop(text(10))
    world.deliver(lambda stage, _body: "lost" if stage == lost else "")
    assert not world.ledger(run).complete
    asked = len(world.engine.asked)
    assert world.repair(run) == sent
    world.deliver()
    assert world.ledger(run).complete
    assert world.each_once() == whole(10)
    assert len(world.engine.asked) == 10
    assert asked == (10 if lost == "aggregate" else 0)


def test_a_remainder_that_was_lost_goes_on_with_its_attempts(world: World):
    """The next cut is sent as its object says; what was answered already is not asked again."""
    world.engine = stumbling(["keyword 1"], 2)
    run = world.drop(text(4))
    rounds = 0

    def fate(stage: str, _body: bytes) -> str:
        nonlocal rounds
        rounds += stage == "fetch"
        return "lost" if stage == "fetch" and rounds > 1 else ""

    world.deliver(fate)
    assert world.repair(run) == Repaired(batches=1)
    world.deliver()
    assert world.each_once() == whole(4)
    assert Counter(keyword for keyword, _ in world.engine.asked) == {
        "keyword 0": 1,
        "keyword 1": 3,
        "keyword 2": 1,
        "keyword 3": 1,
    }


def test_repair_of_a_run_that_is_under_way_asks_nothing_twice(world: World):
    """Messages that still wait are there twice, and the second finds what the first staged."""
    run = world.drop(text(20))
    world.deliver(lambda stage, _body: "dead" if stage == "fetch" else "")
    dead = world.queues.fetch(API).dead()
    bodies = [one.body for one in dead.receive(100, wait=0.0)]
    world.queues.fetch(API).send(bodies)
    world.repair(run)
    world.repair(run)
    world.deliver()
    assert world.each_once() == whole(20)
    assert len(world.engine.asked) == 20


def test_what_waits_in_the_backlog_is_left_there(world: World):
    """The queue gets what was lost, not what the rate could not ask in time anyway."""
    world.horizon = 8.0
    run = world.drop(text(20))
    world.deliver(lambda stage, _body: "lost" if stage == "fetch" else "")
    assert world.repair(run) == Repaired(batches=2, backlog=3)
    world.deliver()
    assert len(world.engine.asked) == 8
    while list(world.storage.keys("backlog/")):
        release(world.storage, world.queues, API, Room(1.0, 100.0))
        world.deliver()
    assert world.each_once() == whole(20)


def test_a_cancelled_run_is_repaired_to_its_end(world: World):
    run = world.drop(text(6))
    world.deliver(lambda stage, _body: "lost" if stage == "fetch" else "")
    say(world.storage, run.run_id, "cancelled", 0.0)
    world.repair(run)
    world.deliver()
    assert set(world.statuses().values()) == {("refused", "cancelled")}
    assert len(world.each_once()) == 6
    assert not world.engine.asked


def test_runs_that_cannot_be_repaired_say_what_to_do(world: World):
    here = world.drop(text(4), by="here")
    with pytest.raises(Misuse, match="the same command goes on"):
        world.repair(here)
    old = world.drop(text(4), run_id="old")
    world.clock.now += 45 * 86_400
    world.repair(old)
    world.clock.now += 1
    with pytest.raises(Misuse, match="older than 45 days"):
        world.repair(old)
    foreign = msgspec.structs.replace(old, normaliser=99, created_at=world.clock.now)
    with pytest.raises(Misuse, match="normaliser 99"):
        world.repair(foreign)


def mend(world: World, run: Run, deed: str) -> None:
    """One deed of an operator, who is told where it makes no sense."""
    if deed == "redrive":
        for queue in (world.queues.keywords, world.queues.fetch(API), world.queues.results):
            redrive(queue)
        return
    with suppress(Misuse):
        world.repair(run) if deed == "repair" else world.settle(run)


@pytest.mark.parametrize("seed", range(12))
def test_any_messages_lost_or_dead_and_any_order_of_mending_give_each_task_one_row(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
):
    """Kill messages at random, mend in any order, redrive what was dead last or in between.

    Nothing is lost and nothing is there twice; the engine is asked once a task and once for each failure.
    """
    monkeypatch.setattr(redriving, "LOOK", 0.0)
    dice = random.Random(seed)
    world = World(tmp_path / "lake")
    count, failures = 30, dice.choice([1, 2])
    stumbled = dice.sample(keywords(count), 6)
    world.engine = stumbling(stumbled, failures)
    run = world.drop(text(count), parts=dice.choice([1, 2, 3]), batch_size=dice.choice([1, 3, 7]))
    deeds = dice.choices(["repair", "settle", "redrive"], k=dice.randint(1, 4))

    def fate(_stage: str, _body: bytes) -> str:
        return dice.choices(["", "lost", "dead"], [6, 2, 2])[0]

    world.deliver(fate)
    for deed in deeds:
        mend(world, run, deed)
        # Sometimes the next deed comes before anything was delivered.
        if dice.random() < 0.6:
            world.deliver(fate)
    while not world.ledger(run).complete:
        mend(world, run, "repair")
        world.deliver()
    mend(world, run, "redrive")
    world.deliver()
    assert world.ledger(run).complete
    assert world.each_once() == whole(count)
    asked = Counter(keyword for keyword, _ in world.engine.asked)
    assert all(times <= 1 + failures * (keyword in stumbled) for keyword, times in asked.items())
    assert "settle" in deeds or set(world.statuses().values()) == {("ok", "")}
    world.close()


def test_repair_clears_the_closings_that_the_table_of_a_folder_holds(world: World):
    """They would be listed by every repair; one that the table lacks is sent and kept."""
    run = world.drop(text(3))
    told, lost = (
        Closing(id=name, source=API, event="closed", happened_at=9.0, closed_since=9.0)
        for name in ("told", "lost")
    )
    for one in (told, lost):
        world.storage.put(keys.staged_closing(API, one.id), encode_closing(one))
    world.tables.append_closings([told])
    assert world.repair(run).closings == 1
    assert list(world.storage.keys(keys.staged_closings())) == [keys.staged_closing(API, "lost")]
