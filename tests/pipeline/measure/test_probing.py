"""One probe: what it saw of its environment, written down once, whoever repeats it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline import keys
from pipeline.errors import Misuse, QueueUnavailable
from pipeline.measure.experiments import repeats
from pipeline.measure.probing import Environment, Function, Hands, probe, read_order
from stages.measure import Order, Reading, decode_reading
from tests.pipeline.measure.kit import FUNCTION, World

LIFETIME = Order("lifetime-20270115T080000Z-3f2a", 1_800_000_000.0, slot=4, pause_s=300.0)
TREE = Order(
    "scaling-20270115T080000Z-3f2a", 1_800_000_000.0, hold_s=5.0, levels=2, width=25, until=1_800_000_300.0
)


def staged(world: World, order: Order) -> Reading:
    return decode_reading(world.storage.get(keys.reading(order.experiment, order.probe)))


def run(order: Order, hands: Hands) -> Reading:
    """The first invocation of an environment."""
    now = hands.clock()
    return probe(order, Environment(now), Function(FUNCTION, 512), hands, started=now)


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
    assert row.idle_ms is None
    assert row.environment == world.environments[FUNCTION].id
    assert Environment(0.0).id != Environment(0.0).id


def test_initialising_is_not_waiting_to_be_used(world: World):
    """Lambda may initialise an environment long before its first invocation: the two are told apart."""
    world.clock.now += 180
    row = world.probed(FUNCTION, LIFETIME)
    assert (row.init_ms, row.idle_ms) == (250.0, 180_000.0)


def test_a_probe_began_when_its_invocation_did(world: World):
    """What the function does before it is asked to look around is no part of the delay."""
    began = world.clock()
    world.clock.now += 2
    row = world.probed(FUNCTION, LIFETIME, started=began)
    assert (row.started_at, row.delay_ms) == (began, 0.0)


def test_what_fires_twice_is_written_once(world: World):
    """The first one counts: a repeat would tell of another pause."""
    first = world.probed(FUNCTION, LIFETIME)
    assert first.fired == 1
    for _ in range(2):
        world.clock.now += 60
        assert world.probed(FUNCTION, LIFETIME).fired == 2
    assert staged(world, LIFETIME) == first
    assert repeats(world.storage, LIFETIME.experiment) == {LIFETIME.probe: 2}


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


def test_children_are_sent_once_whoever_repeats_their_parent(world: World):
    """A message that comes twice makes no second subtree."""
    for _ in range(3):
        world.probed(FUNCTION, TREE)
    assert world.queue.depth().waiting == 25


def test_nothing_is_sent_when_the_tree_should_have_ended(world: World):
    """A message that comes again much later: its probe looks around, and that is all."""
    world.clock.now = TREE.until + 1
    world.probed(FUNCTION, TREE)
    assert world.queue.depth().waiting == 0
    assert staged(world, TREE).level == 0


def test_a_probe_that_cannot_send_is_tried_again_without_what_is_below_it(world: World):
    """Whether anything was sent is not known: sent again it could be twice, so what is below is missing."""

    class Away:
        def send(self, _bodies: Any) -> None:
            raise QueueUnavailable("away")

    with pytest.raises(QueueUnavailable):
        run(TREE, world.hands(queue=Away()))
    assert world.storage.find(keys.reading(TREE.experiment, TREE.probe)) is None
    world.probed(FUNCTION, TREE)
    assert staged(world, TREE).level == 0
    assert world.queue.depth().waiting == 0


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
    row = run(order, hands)
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
