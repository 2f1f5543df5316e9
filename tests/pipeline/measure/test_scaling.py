"""Scaling: a tree no larger than what the account has, and never large without being asked about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from pipeline import keys
from pipeline.bootstrap import MAX_RECEIVES
from pipeline.errors import Misuse, StorageUnavailable
from pipeline.measure.experiments import experiment_names, progress, read_readings
from pipeline.measure.probes import Concurrency
from pipeline.measure.probing import Environment, Function, probe
from pipeline.measure.scaling import check_tree, start_scaling
from pipeline.storage.folder import FolderStorage
from stages.measure import Order
from stages.measure_plan import size_of_tree
from tests.pipeline.measure.kit import FUNCTION, World


def no(_what: str) -> bool:
    return False


def test_a_tree_grows_from_one_message(world: World):
    """The root goes to the queue; what it and the others send is the whole plan, one row each."""
    experiment = start_scaling(world.stand, 3, 4, confirm=no, hold_s=2.0)
    assert world.queue.depth().waiting == 1
    assert world.drained() == size_of_tree(3, 4) == 13
    seen = progress(world.storage, experiment, world.clock())
    assert (seen.planned, seen.done, seen.over) == (13, 13, True)
    assert {row.level for row in read_readings(world.storage, experiment)} == {0, 1, 2, 3}
    assert (experiment.limit, experiment.hold_s) == (1000, 2.0)


def test_a_tree_whose_messages_come_twice_has_each_probe_once(world: World):
    """The root is delivered again: its children are the same ones."""
    experiment = start_scaling(world.stand, 2, 3, confirm=no)
    [root] = world.queue.receive(1, wait=0)
    world.queue.ack(root)
    world.queue.send([root.body, root.body])
    assert world.drained() == size_of_tree(2, 3) + 1
    rows = read_readings(world.storage, experiment)
    assert len(rows) == 7
    assert {row.probe: row.fired for row in rows if row.fired > 1} == {f"{experiment.experiment}-0-0": 2}


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_a_tree_whose_probes_cannot_write_is_no_larger(world: World, levels: int):
    """Every message comes five times, since no reading can be written: each still sends its children once."""
    start_scaling(world.stand, levels, 2, confirm=no)
    invocations = drained_in_vain(world, lambda key: "/sent/" not in key)
    assert invocations == MAX_RECEIVES * size_of_tree(levels, 2)


def test_a_tree_that_can_write_nothing_does_not_grow(world: World):
    """Not even the claim: the root comes five times and ends among the dead."""
    start_scaling(world.stand, 4, 100, confirm=lambda _what: True)
    assert drained_in_vain(world, lambda _key: True) == MAX_RECEIVES


def drained_in_vain(world: World, failing: Callable[[str], bool]) -> int:
    """Let the queue run against a storage that takes nothing under some keys; gives the invocations."""

    class Full(FolderStorage):
        def put_new(self, key: str, body: bytes) -> bool:
            if failing(key):
                raise StorageUnavailable("full")
            return super().put_new(key, body)

    count, hands = 0, world.hands(storage=Full(world.folder))
    while received := world.queue.receive(1, wait=0):
        order, now = msgspec.json.decode(received[0].body, type=Order), world.clock()
        with pytest.raises(StorageUnavailable):
            probe(order, Environment(now), Function(FUNCTION, 512), hands, started=now)
        world.queue.release(received[0])
        count += 1
    return count


def test_above_a_tenth_of_the_account_it_is_asked_first(world: World):
    """With what it would take; a no begins nothing, a yes does."""
    asked: list[str] = []

    def yes(what: str) -> bool:
        asked.append(what)
        return True

    start_scaling(world.stand, 1, 99, confirm=no)
    assert world.drained() == 100
    with pytest.raises(Misuse, match=r"11% of the 1,000 invocations at once .* --yes starts it"):
        start_scaling(world.stand, 1, 110, confirm=no)
    assert len(experiment_names(world.storage)) == 1
    assert world.queue.depth().waiting == 0
    start_scaling(world.stand, 1, 110, confirm=yes)
    assert asked == [
        "the tree runs up to 111 probes at once, 11% of the 1,000 invocations at once that the account has"
    ]


def test_somebodys_echo_is_not_asked_hundreds_of_times_unasked(world: World):
    """The operator says that it may be; the one of this machine is one's own."""
    asked: list[str] = []

    def answer(what: str) -> bool:
        asked.append(what)
        return len(asked) > 1

    start_scaling(world.stand, 1, 80, confirm=no, echo="http://127.0.0.1/echo")
    assert world.drained() == 81
    start_scaling(world.stand, 1, 19, confirm=no, echo="https://echo.example.org/")
    assert world.drained() == 20
    with pytest.raises(Misuse, match=r"echo.example.org would be asked 81 times within seconds; --yes"):
        start_scaling(world.stand, 1, 80, confirm=answer, echo="https://echo.example.org/")
    assert world.queue.depth().waiting == 0
    start_scaling(world.stand, 1, 80, confirm=answer, echo="https://echo.example.org/")
    assert world.queue.depth().waiting == 1
    assert (
        asked == ["echo.example.org would be asked 81 times within seconds; is it yours, or may it be?"] * 2
    )


@pytest.mark.parametrize(
    ("limits", "tree", "most", "what"),
    [
        ({}, (1, 100), 100, "up to 101 probes at once, and --max says 100"),
        (
            {"unreserved": 100},
            (1, 100),
            None,
            r"100 are allowed here \(the account has 1,000, 100 of them unreserved",
        ),
        ({"unreserved": 900, "reserved": 20}, (1, 20), None, "20 are allowed here .* 20 kept for the probe"),
        ({"mapped": 50}, (5, 10), None, "50 are allowed here .* 50 by its queue"),
        ({}, (17, 1), None, "at most 16 levels"),
        ({}, (1, 501), None, "each 500 wide"),
    ],
)
def test_a_tree_larger_than_the_limit_is_refused(
    limits: dict[str, Any], tree: tuple[int, int], most: int | None, what: str
):
    """By whichever bound is the smallest, with all of them named."""
    given = Concurrency(**{"account": 1000, "unreserved": 900, **limits})
    with pytest.raises(Misuse, match=what):
        check_tree(*tree, given, most)


def test_what_fits_exactly_is_allowed():
    """A hundred and one may take a hundred and one."""
    check_tree(1, 100, Concurrency(101, 101, None, 101), 101)
    # Reserved for the probe alone, it is no part of what is unreserved.
    check_tree(1, 100, Concurrency(1000, 50, 101))


def test_the_account_is_read_first(world: World):
    """What is refused has sent nothing and written nothing."""
    world.lambda_.account, world.lambda_.unreserved = 10, 10
    with pytest.raises(Misuse, match="up to 13 probes at once, and 10 are allowed here"):
        start_scaling(world.stand, 3, 4, confirm=lambda _what: True)
    assert world.queue.depth().waiting == 0
    assert not list(world.storage.keys(keys.MEASUREMENTS))
