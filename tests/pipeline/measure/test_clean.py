"""Clean: nothing of an aborted experiment stays but the rows of what was seen."""

from __future__ import annotations

import pytest

from pipeline import keys
from pipeline.errors import CatalogUnavailable, Misuse
from pipeline.measure.clean import clean, left_behind
from pipeline.measure.environment import start_environment
from pipeline.measure.experiments import experiment_names
from pipeline.measure.lifetime import start_lifetime
from pipeline.measure.scaling import start_scaling
from stages.measure import decode_order
from stages.measure_plan import root
from tests.pipeline.measure.kit import FUNCTION, Rows, World


def yes(_what: str) -> bool:
    return True


def aborted(world: World) -> None:
    """One of each kind, given up in the middle."""
    start_lifetime(world.stand, (300.0, 600.0))
    world.clock.now += 1
    start_scaling(world.stand, 2, 3, confirm=yes)
    [root_] = world.queue.receive(1, wait=0)
    world.probed(FUNCTION, decode_order(root_.body))
    world.queue.ack(root_)
    world.queue.dead().send([b"{}"])
    world.clock.now += 1
    start_environment(world.stand, (128,), confirm=yes)
    world.lambda_.memory[FUNCTION] = 128


def test_nothing_stays(world: World):
    """Schedules, messages, dead ones, objects, a function's memory; the root's row is kept."""
    aborted(world)
    table = Rows()
    done = clean(world.stand, table)
    assert (done.rows, done.schedules, done.messages, done.objects, done.resized) == (1, 3, 4, 5, 1)
    assert not world.scheduler.schedules
    assert not list(world.storage.keys(keys.MEASUREMENTS))
    assert world.queue.depth().waiting == world.queue.dead().depth().waiting == 0
    assert world.lambda_.memory[FUNCTION] == 512
    assert [row.level for row in table.rows.values()] == [0]
    again = clean(world.stand, table)
    assert (again.rows, again.schedules, again.messages, again.objects, again.resized) == (0, 0, 0, 0, 0)


def test_one_experiment_alone(world: World):
    """The others go on: their schedules, objects and messages stay."""
    first = start_lifetime(world.stand, (300.0,))
    world.clock.now += 1
    second = start_lifetime(world.stand, (300.0,), confirm=yes)
    world.queue.send([b"{}"])
    done = clean(world.stand, Rows(), first.experiment)
    assert (done.schedules, done.objects, done.messages) == (2, 1, 0)
    assert sorted(world.scheduler.schedules) == [f"{second.experiment}-0-{slot}" for slot in range(2)]
    assert list(world.storage.keys(keys.MEASUREMENTS)) == [keys.experiment(second.experiment)]
    assert world.queue.depth().waiting == 1


def test_schedules_without_an_experiment_go_too(world: World):
    """Whoever deleted its description; a group that is not there has none."""
    experiment = start_lifetime(world.stand, (300.0, 600.0, 900.0))
    world.storage.delete(keys.experiment(experiment.experiment))
    assert len(left_behind(world.stand).schedules) == 4
    assert clean(world.stand, Rows()).schedules == 4
    world.scheduler.groups.clear()
    assert clean(world.stand, Rows()).schedules == 0


def test_what_cannot_be_saved_is_not_removed(world: World):
    """A table that does not answer keeps every object where it is."""
    start_scaling(world.stand, 1, 2, confirm=lambda _what: False)
    world.drained()

    class Away(Rows):
        def append_readings(self, readings: object) -> int:  # noqa: ARG002
            raise CatalogUnavailable("away")

    with pytest.raises(CatalogUnavailable):
        clean(world.stand, Away())
    table = Rows()
    assert clean(world.stand, table).rows == 3
    assert len(table.rows) == 3


def test_a_probe_that_comes_late_is_not_a_second_row(world: World):
    """Its object is written anew, and its row is in the table already."""
    experiment = start_lifetime(world.stand, (300.0,))
    schedules = dict(world.scheduler.schedules)
    world.fired()
    table = Rows()
    clean(world.stand, table)
    world.scheduler.schedules = schedules
    world.fired()
    assert list(world.storage.keys(keys.MEASUREMENTS))
    done = clean(world.stand, table)
    assert (done.rows, len(table.rows)) == (0, 2)
    assert not list(world.storage.keys(keys.measurements(experiment.experiment)))


def test_a_probe_that_comes_late_for_the_first_time_is_saved_later(world: World):
    """It ran while it was cleaned away: the next time its row is kept, and then its object goes."""
    start_lifetime(world.stand, (300.0,))
    schedules = dict(world.scheduler.schedules)
    table = Rows()
    assert clean(world.stand, table).rows == 0
    world.scheduler.schedules = schedules
    world.fired()
    done = clean(world.stand, table)
    assert (done.rows, done.objects, len(table.rows)) == (2, 2, 2)


def test_a_name_of_nothing_is_told(world: World):
    """And nothing is touched."""
    start_lifetime(world.stand, (300.0,))
    with pytest.raises(Misuse, match="there is no experiment lifetime-2019"):
        clean(world.stand, Rows(), "lifetime-2019")
    assert len(world.scheduler.schedules) == 2


def test_a_trees_messages_go_with_it(world: World):
    """By its name too: nothing of it runs afterwards. Other messages stay where they are."""
    first = start_scaling(world.stand, 2, 3, confirm=yes)
    world.clock.now += 1
    second = start_scaling(world.stand, 1, 2, confirm=yes)
    done = clean(world.stand, Rows(), first.experiment)
    assert (done.messages, done.objects) == (1, 1)
    assert world.drained() == 3
    assert experiment_names(world.storage) == [second.experiment]
    assert not list(world.storage.keys(keys.measurements(first.experiment)))


def test_what_a_tree_would_still_run_is_counted_before(world: World):
    """So that whoever asks is told; of a lifetime, messages are none."""
    tree = start_scaling(world.stand, 1, 2, confirm=yes)
    lifetime = start_lifetime(world.stand, (300.0,), confirm=yes)
    assert (left_behind(world.stand).messages, len(left_behind(world.stand).schedules)) == (1, 2)
    assert left_behind(world.stand, tree.experiment).messages == 1
    assert left_behind(world.stand, lifetime.experiment).messages == 0


def test_a_description_that_cannot_be_read_keeps_nothing_back(world: World):
    """Schedules and messages go all the same, and it is named: what it would have restored is not known."""
    broken = start_lifetime(world.stand, (300.0,))
    world.storage.put(keys.experiment(broken.experiment), b"no json")
    done = clean(world.stand, Rows())
    assert (done.schedules, done.objects, done.unread) == (2, 1, (broken.experiment,))
    assert not world.scheduler.schedules
    assert not list(world.storage.keys(keys.MEASUREMENTS))


def test_a_function_gets_back_the_memory_that_it_had_before_all(world: World):
    """Two were killed, the second in the middle of what the first had left: the first one's counts."""
    start_environment(world.stand, (128, 256))
    world.lambda_.memory[FUNCTION] = 256
    world.clock.now += 60
    start_environment(world.stand, (256, 1024))
    world.lambda_.memory[FUNCTION] = 1024
    assert clean(world.stand, Rows()).resized == 1
    assert world.lambda_.memory[FUNCTION] == 512


def test_rows_that_are_saved_say_what_their_experiment_was(world: World):
    """As those of any other command: planned probes, tree, hold, limit, and what fired twice."""
    experiment = start_scaling(world.stand, 1, 2, confirm=yes)
    world.drained()
    world.probed(FUNCTION, root(experiment))
    table = Rows()
    clean(world.stand, table)
    assert {(row.planned, row.tree, row.hold_s, row.account_limit) for row in table.rows.values()} == {
        (3, "1x2", 5.0, 1000)
    }
    assert sorted(row.fired for row in table.rows.values()) == [1, 1, 2]
