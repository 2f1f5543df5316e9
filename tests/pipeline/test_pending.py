"""What is missing of a run is found from file, staged objects and rows, whichever message was lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pipeline import keys
from pipeline.errors import Permanent, Unreadable
from pipeline.pending import Pending, in_backlog, pending, unsharded
from stages.records import Pointer
from stages.run import Run
from tests.pipeline.kit import API
from tests.pipeline.mending_kit import World, keywords, stumbling, text


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "lake")
    yield made
    made.close()


def found(world: World, run: Run, part: int = 0) -> list[Pending]:
    return list(pending(world.storage, world.tables, run, part))


def lose(*stages: str):
    return lambda stage, _body: "lost" if stage in stages else ""


def test_a_whole_run_lacks_nothing_and_its_objects_are_not_even_read(world: World):
    """What the table has in full needs no look at storage, which may have forgotten it."""
    run = world.drop(text(10))
    world.deliver()
    for key in world.staged():
        world.storage.delete(key)
    assert found(world, run) == []
    assert unsharded(world.storage, run, world.ledger(run)).lost == ()


def test_a_batch_that_was_never_fetched_is_open_as_it_was_sharded(world: World):
    run = world.drop(text(10))
    world.deliver(lose("fetch"))
    lacking = found(world, run)
    assert [(one.tasks, one.staged, one.open.batch_no, one.open.cut) for one in lacking] == [
        (4, (), 1, 0),
        (4, (), 2, 0),
        (2, (), 3, 0),
    ]
    assert [task.keyword for one in lacking for task in one.open.tasks] == keywords(10)


def test_a_batch_is_followed_along_its_cuts(world: World):
    """Lost pointers are named one by one; the end is the cut that has no object, as it was sent."""
    world.engine = stumbling(["keyword 0", "keyword 1"], 2)
    run = world.drop(text(4))
    rounds = 0

    def fate(stage: str, body: bytes) -> str:
        nonlocal rounds
        rounds += stage == "fetch"
        return "lost" if (stage == "aggregate" and b".json.gz" in body) or rounds > 2 else ""

    world.deliver(fate)
    [lacking] = found(world, run)
    assert lacking.tasks == 4
    assert lacking.staged == (Pointer("staging/run1/0/1-0.json.gz", 2),)
    assert lacking.open is not None
    assert (lacking.open.cut, [task.keyword for task in lacking.open.tasks]) == (
        2,
        ["keyword 0", "keyword 1"],
    )
    assert [task.attempts for task in lacking.open.tasks] == [2, 2]


def test_what_is_staged_to_its_end_lacks_only_its_commit(world: World):
    run = world.drop(text(4))
    world.deliver(lambda stage, body: "lost" if stage == "aggregate" and b".json.gz" in body else "")
    assert found(world, run) == [Pending(4, (Pointer("staging/run1/0/1-0.json.gz", 4),), None)]


def test_a_part_is_lost_or_only_its_row_is(world: World):
    """Which of both is told by its staged row."""
    run = world.drop(text(40), parts=3)

    def fate(stage: str, body: bytes) -> str:
        shard_of_1 = stage == "shard" and msgspec.json.decode(body)["part"] == 1
        return "lost" if shard_of_1 or (stage == "aggregate" and b"/2/shard.json" in body) else ""

    world.deliver(fate)
    missing = unsharded(world.storage, run, world.ledger(run))
    assert (missing.lost, missing.staged) == ((1,), (2,))
    assert found(world, run, 2) == []


def test_an_object_that_went_before_its_time_is_no_open_batch(world: World):
    """To fetch a cut again whose pages, or whose remainder's, are in the table would count tasks twice."""
    world.engine = stumbling(["keyword 0"], 2)
    run = world.drop(text(4))
    rounds = 0

    def fate(stage: str, _body: bytes) -> str:
        nonlocal rounds
        rounds += stage == "fetch"
        return "lost" if stage == "fetch" and rounds > 1 else ""

    world.deliver(fate)
    # What is committed is not named again.
    [lacking] = found(world, run)
    assert (lacking.tasks, lacking.staged, lacking.open.cut) == (1, (), 1)
    world.storage.delete("staging/run1/0/1-0.json.gz")
    with pytest.raises(Unreadable, match="is gone"):
        found(world, run)


def test_a_damaged_object_is_named(world: World):
    run = world.drop(text(4))
    world.deliver(lose("fetch"))
    world.storage.put("staging/run1/0/1-0.json.gz", b"nonsense")
    with pytest.raises(Unreadable, match=r"1-0\.json\.gz"):
        found(world, run)


def test_the_backlog_is_known(world: World):
    """What waits in the backlog is told from what is lost, part by part and run by run."""
    world.horizon = 8.0
    run = world.drop(text(20))
    other = world.drop(text(20), "other.txt", run_id="run2")
    world.deliver(lambda stage, _body: "lost" if stage == "fetch" else "")
    waits = in_backlog(world.storage, run)
    sharded = [one.open for one in found(world, run)]
    waiting = [batch.batch_no for batch in sharded if waits(batch)]
    assert waiting == [3, 4, 5]
    assert not in_backlog(world.storage, other)(msgspec.structs.replace(sharded[4], cut=1))
    [chunk, *_] = world.storage.keys(keys.backlog(API))
    world.storage.put(chunk, b'{"no": "batch"}\n')
    with pytest.raises(Permanent, match="holds no batches"):
        in_backlog(world.storage, run)(sharded[0])


def test_a_file_that_was_refused_has_no_batches(world: World):
    run = world.drop(text(4), refused="no such source")
    world.deliver()
    assert found(world, run) == []
    assert world.ledger(run).complete


def test_state_is_kept_by_batch_and_not_by_keyword(world: World):
    """The counts of the table are a few numbers a batch, with several runs and parts beside each other."""
    world.engine = stumbling(["keyword 0", "keyword 5"])
    run = world.drop(text(30), parts=2, batch_size=10)
    world.drop(text(30), "other.txt", run_id="run2", batch_size=10)
    world.deliver()
    cuts = [world.tables.cuts(run.run_id, run.run_date, part) for part in (0, 1)]
    assert sum(sum(one.values()) for one in cuts) == 30
    assert all(len(one) <= 6 for one in cuts)
    assert {cut for one in cuts for _, cut in one} == {0, 1}
