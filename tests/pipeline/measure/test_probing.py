"""One probe: what it saw of its environment, written down once, whoever repeats it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline import keys
from pipeline.errors import Misuse, QueueUnavailable
from pipeline.measure.probing import Environment, Function, probe, read_order
from stages.measure import Order, Reading, decode_reading
from tests.pipeline.measure.kit import FUNCTION, World

LIFETIME = Order("lifetime-20270115T080000Z-3f2a", 1_800_000_000.0, slot=4, pause_s=300.0)
TREE = Order("scaling-20270115T080000Z-3f2a", 1_800_000_000.0, hold_s=5.0, levels=2, width=25)


def staged(world: World, order: Order) -> Reading:
    return decode_reading(world.storage.get(keys.reading(order.experiment, order.probe)))


def test_a_probe_writes_down_what_it_saw(world: World):
    """Where it stands in its experiment, when it was due and began, and what was read below it."""
    world.clock.now += 2.5
    row = world.probed(FUNCTION, LIFETIME)
    assert staged(world, LIFETIME) == row
    assert (row.kind, row.slot, row.pause_s, row.rest_s) == ("lifetime", 4, 300.0, None)
    assert (row.delay_ms, row.init_ms, row.cold, row.invocation) == (2500.0, 250.0, True, 1)
    assert (row.boot_id, row.architecture, row.function, row.memory_mb) == ("boot-1", "arm64", FUNCTION, 512)
    assert row.address is None


def test_the_second_time_an_environment_knows_how_long_it_rested(world: World):
    """It is warm, counts on, and says nothing of its start."""
    world.probed(FUNCTION, LIFETIME)
    world.clock.now += 300
    row = world.probed(FUNCTION, msgspec.structs.replace(LIFETIME, slot=5))
    assert (row.rest_s, row.cold, row.invocation, row.init_ms) == (300.0, False, 2, None)
    assert row.environment == world.environments[FUNCTION].id
    assert Environment().id != Environment().id


def test_what_fires_twice_is_written_once(world: World):
    """The first one counts: a repeat would tell of another pause."""
    first = world.probed(FUNCTION, LIFETIME)
    world.clock.now += 60
    world.probed(FUNCTION, LIFETIME)
    assert staged(world, LIFETIME) == first


def test_a_root_sends_its_level_and_holds(world: World):
    """Children go out before the hold, with the moment of their sending; the row says how long it stayed."""
    row = world.probed(FUNCTION, TREE)
    assert row.finished_at - row.started_at == 5.0
    bodies = [one.body for one in world.queue.receive(100, wait=0)]
    children = [msgspec.json.decode(body, type=Order) for body in bodies]
    assert sorted(child.slot for child in children) == list(range(25))
    assert {(child.level, child.hold_s, child.scheduled_at) for child in children} == {
        (1, 5.0, row.started_at)
    }


def test_a_message_is_late_since_it_was_sent(world: World):
    """What the queue says of its sending stands above what is in it, and deliveries are counted."""
    world.clock.now += 3
    row = world.probed(FUNCTION, TREE, sent_at=world.clock.now - 1.5, receives=2)
    assert (row.delay_ms, row.receives) == (1500.0, 2)


def test_a_clock_that_goes_behind_makes_no_delay_below_nothing(world: World):
    """Two machines' clocks differ."""
    assert world.probed(FUNCTION, TREE, sent_at=world.clock.now + 9).delay_ms == 0.0


def test_a_probe_that_cannot_send_writes_nothing(world: World):
    """Its message comes again and does it all; a row without its children would hide that they are lost."""

    class Away:
        def send(self, _bodies: Any) -> None:
            raise QueueUnavailable("away")

    hands = world.hands(queue=Away())
    with pytest.raises(QueueUnavailable):
        probe(TREE, Environment(), Function(FUNCTION, 512), hands)
    assert world.storage.find(keys.reading(TREE.experiment, TREE.probe)) is None


def test_an_echo_is_asked_only_where_one_is_named(world: World):
    """And what it says, or why it says nothing, is in the row."""
    row = world.probed(FUNCTION, msgspec.structs.replace(LIFETIME, echo="http://127.0.0.1/echo"))
    assert (row.address, row.echo_error) == ("192.0.2.1", None)


def test_what_cannot_be_read_or_asked_is_in_the_row(world: World):
    """When and where the probe ran is known all the same."""

    def broken(*_given: object) -> Any:
        raise ValueError("no such machine")

    order = msgspec.structs.replace(LIFETIME, echo="http://127.0.0.1/echo")
    hands = world.hands(read=broken, ask=broken)
    row = probe(order, Environment(), Function(FUNCTION, 512), hands)
    assert row.error == "the machine could not be read: ValueError: no such machine"
    assert row.echo_error == "the echo URL could not be asked: ValueError: no such machine"
    assert (row.boot_id, row.cpu_count, row.invocation) == ("", 0, 1)
    assert staged(world, LIFETIME) == row


@pytest.mark.parametrize(
    "event",
    [
        None,
        "ls",
        [],
        {},
        {"command": "ls"},
        {"experiment": "lifetime-20270115T080000Z-3f2a"},
        {"experiment": "lifetime-20270115T080000Z-3f2a", "scheduled_at": 1, "run": "ls"},
        {"experiment": "..", "scheduled_at": 1},
        {"experiment": "lifetime-20270115T080000Z-3f2a", "scheduled_at": "1"},
    ],
)
def test_a_probe_takes_an_order_and_nothing_else(event: object):
    """There is no event that makes it do anything else."""
    with pytest.raises(Misuse, match="takes an order of an experiment and nothing else"):
        read_order(event)
