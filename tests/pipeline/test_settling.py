"""Settling: what never came ends as ``failed/dead``, each task once, whatever comes later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pipeline import redrive as redriving
from pipeline.errors import Misuse
from pipeline.redrive import redrive
from pipeline.settling import Settled, settle
from stages.staged import decode_staged
from tests.pipeline.kit import API
from tests.pipeline.mending_kit import World, keywords, stumbling, text

DEAD, OK = ("failed", "dead"), ("ok", "")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(redriving, "LOOK", 0.0)
    made = World(tmp_path / "lake")
    yield made
    made.close()


def whole(count: int) -> dict[tuple[object, ...], int]:
    return {(keyword, 1): 1 for keyword in keywords(count)}


def bury_fetch(stage: str, _body: bytes) -> str:
    return "dead" if stage == "fetch" else ""


def test_what_died_ends_as_dead_and_a_later_redrive_asks_nothing(world: World):
    """The run is complete; the dead letters that come back find their places taken."""
    run = world.drop(text(10))
    world.deliver(bury_fetch)
    assert world.settle(run) == Settled(tasks=10, staged=3)
    world.deliver()
    assert world.ledger(run).pages == {"failed": 10}
    assert redrive(world.queues.fetch(API)) == 3
    world.deliver()
    assert world.each_once() == whole(10)
    assert set(world.statuses().values()) == {DEAD}
    assert not world.engine.asked


def test_a_redrive_that_comes_first_wins(world: World):
    """Its pages stand; settling ends only what is still missing then."""
    run = world.drop(text(10))
    world.deliver(bury_fetch)
    redrive(world.queues.fetch(API), stopped=lambda: world.queues.fetch(API).depth().waiting > 0)
    world.deliver(lambda stage, body: "dead" if stage == "fetch" and b'"batch_no":2' in body else "")
    assert world.settle(run) == Settled(tasks=4, staged=1)
    world.deliver()
    assert world.each_once() == whole(10)
    assert world.ledger(run).pages == {"ok": 6, "failed": 4}


def test_settling_twice_is_settling_once(world: World):
    run = world.drop(text(10))
    world.deliver(bury_fetch)
    assert world.settle(run).tasks == 10
    again = world.settle(run)
    assert again == Settled(tasks=0, staged=3)
    world.deliver()
    assert world.each_once() == whole(10)
    with pytest.raises(Misuse, match="is complete"):
        world.settle(run)


def test_only_what_a_batch_left_undone_is_dead(world: World):
    """Pages that were staged stand; the tasks keep the attempts that they had."""
    world.engine = stumbling(["keyword 0", "keyword 2"], 5)
    run = world.drop(text(4))
    rounds = 0

    def fate(stage: str, _body: bytes) -> str:
        nonlocal rounds
        rounds += stage == "fetch"
        return "lost" if stage == "fetch" and rounds > 2 else ""

    world.deliver(fate)
    assert world.settle(run) == Settled(tasks=2, staged=1)
    dead = decode_staged(world.storage.get("staging/run1/0/1-2.json.gz"))
    assert dead.header.remainder is None
    assert dead.columns.pages.attempts == [2, 2]
    world.deliver()
    statuses = world.statuses()
    assert [statuses[keyword] for keyword in keywords(4)] == [DEAD, OK, DEAD, OK]


def test_a_fetch_that_is_faster_is_not_overwritten(world: World):
    """Between the look and the write a fetch stages its cut: settling goes on with what that left undone."""
    world.engine = stumbling(["keyword 3"], 5)
    run = world.drop(text(4))
    world.deliver(bury_fetch)
    dead = world.queues.fetch(API).dead()
    [letter] = dead.receive(1, wait=0.0)
    storage = world.storage
    rounds: list[str] = []

    class Racing:
        """A storage in front of which the batch is fetched at the moment of the first write."""

        def __getattr__(self, name: str) -> object:
            return getattr(storage, name)

        def put_new(self, key: str, body: bytes) -> bool:
            rounds.append(key)
            if len(rounds) == 1:
                world.queues.fetch(API).send([letter.body])
                world.deliver(lambda stage, body: "lost" if stage != "fetch" or b'"cut"' in body else "")
            return storage.put_new(key, body)

    place = msgspec.structs.replace(world.place, storage=Racing())
    assert settle(place, run, world.tables, world.queues) == Settled(tasks=1, staged=2)
    assert [key.rpartition("/")[2] for key in rounds] == ["1-0.json.gz", "1-1.json.gz"]
    world.deliver()
    assert world.each_once() == whole(4)
    assert world.ledger(run).pages == {"ok": 3, "failed": 1}
    assert world.repair(run).batches == 0


def test_a_run_that_is_not_wholly_sharded_is_repaired_first(world: World):
    """Nobody knows the tasks of a part that was never read."""
    run = world.drop(text(30), parts=3)
    world.deliver(
        lambda stage, body: "lost" if stage == "shard" and msgspec.json.decode(body)["part"] else ""
    )
    with pytest.raises(Misuse, match=r"2 of 3 parts .* `serpline repair run1`"):
        world.settle(run)
    world.repair(run)
    world.deliver(bury_fetch)
    world.settle(run)
    world.deliver()
    assert world.ledger(run).complete
    assert world.each_once() == whole(30)


def test_a_row_of_the_ledger_that_was_lost_is_committed_too(world: World):
    run = world.drop(text(4))
    world.deliver(lambda stage, body: "lost" if stage == "aggregate" and b"shard" in body else "")
    assert not world.ledger(run).complete
    assert world.settle(run) == Settled(tasks=0, staged=1)
    world.deliver()
    assert world.ledger(run).complete


def test_runs_that_cannot_be_settled_say_what_to_do(world: World):
    with pytest.raises(Misuse, match="the same command goes on"):
        world.settle(world.drop(text(4), by="here"))
    old = world.drop(text(4), run_id="old")
    world.clock.now += 46 * 86_400
    with pytest.raises(Misuse, match="older than 45 days"):
        world.settle(old)
