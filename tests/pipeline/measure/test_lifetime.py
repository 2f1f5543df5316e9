"""Lifetime: schedules planned up front carry it, each probe is a row, and none is left where it failed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from pipeline import keys
from pipeline.errors import Misuse, Unavailable
from pipeline.measure.clean import clean
from pipeline.measure.experiments import experiment_names, read_readings
from pipeline.measure.lifetime import role_arn, start_lifetime
from stages.measure import Order
from tests.pipeline.measure.kit import REGION, Rows, World, refused


def test_every_probe_is_scheduled_at_the_beginning(tmp_path: Path):
    """At its moment to the second, for its copy, in the role of schedules, deleted when it fired."""
    world = World(tmp_path, copies=2)
    experiment = start_lifetime(world.stand, (300.0, 600.0), copies=2, echo="http://127.0.0.1/echo")
    found = world.scheduler.schedules
    assert len(found) == 6
    for name, schedule in found.items():
        order = msgspec.json.decode(schedule["Target"]["Input"], type=Order)
        assert name == order.probe
        assert len(name) <= 64
        due = datetime.fromtimestamp(order.scheduled_at, UTC)
        assert schedule["ScheduleExpression"] == f"at({due:%Y-%m-%dT%H:%M:%S})"
        assert schedule["ActionAfterCompletion"] == "DELETE"
        assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
        assert schedule["GroupName"] == "serpline-measure"
        role = "arn:aws-cn:iam::123456789012:role/serpline-schedule-measure"
        assert schedule["Target"]["RoleArn"] == role
        assert order.echo == "http://127.0.0.1/echo"
    functions = [schedule["Target"]["Arn"] for schedule in found.values()]
    assert sorted(set(functions)) == [f"{REGION}serpline-probe", f"{REGION}serpline-probe-1"]
    world.fired()
    rows = read_readings(world.storage, experiment)
    assert len(rows) == 6
    assert [row.rest_s for row in rows if row.pause_s is not None] == [
        row.pause_s for row in rows if row.pause_s is not None
    ]


def test_started_twice_over_one_plan_a_probe_is_scheduled_once(world: World):
    """A schedule whose answer was lost and that is asked for again is there already."""
    experiment = start_lifetime(world.stand, (300.0,))
    [first, *_] = world.scheduler.schedules.values()
    order = msgspec.json.decode(first["Target"]["Input"], type=Order)
    world.stand.schedules.add(order, first["Target"]["Arn"], first["Target"]["RoleArn"])
    assert len(world.scheduler.schedules) == 2
    assert experiment.kind == "lifetime"


def test_a_start_that_fails_takes_its_schedules_back(world: World):
    """Nothing fires for an experiment that nobody was told of, though the last one's answer was lost."""

    def failing(name: str) -> None:
        if name.endswith("-0-2"):
            world.scheduler.schedules[name] = {"lost": "its answer"}
            raise refused("ThrottlingException")

    world.scheduler.failing = failing
    with pytest.raises(Unavailable):
        start_lifetime(world.stand, (300.0, 600.0, 900.0))
    assert not world.scheduler.schedules
    assert not experiment_names(world.storage)


@pytest.mark.parametrize(
    "error", [ValueError("year 116063 is out of range"), KeyboardInterrupt(), SystemExit(143)]
)
def test_whatever_ends_a_start_takes_its_schedules_back(world: World, error: BaseException):
    """A defect, a key pressed, a signal: nothing fires for what nobody was told of."""

    def failing(name: str) -> None:
        if name.endswith("-0-1"):
            raise error

    world.scheduler.failing = failing
    with pytest.raises(type(error)):
        start_lifetime(world.stand, (300.0, 600.0))
    assert not world.scheduler.schedules
    assert not experiment_names(world.storage)


def test_schedules_that_cannot_be_taken_back_are_told(world: World):
    """One that stays keeps none of the others; how many and how they are cleaned away is in the sentence."""

    def failing(name: str) -> None:
        if name.endswith("-0-3"):
            raise refused("AccessDeniedException")

    def keeping(name: str) -> None:
        if name.endswith("-0-0"):
            raise refused("ThrottlingException")

    world.scheduler.failing, world.scheduler.keeping = failing, keeping
    with pytest.raises(
        Unavailable, match=r"and 1 schedules of (\S+) may be left: `serpline measure clean \1`"
    ):
        start_lifetime(world.stand, (300.0, 600.0, 900.0))
    [left] = world.scheduler.schedules
    assert left.endswith("-0-0")
    world.scheduler.keeping = lambda _name: None
    clean(world.stand, Rows(), left.removesuffix("-0-0"))
    assert not world.scheduler.schedules


def test_without_measuring_switched_on_it_says_how(world: World):
    """The group, or the functions, are missing: the variable and the command are named."""
    with pytest.raises(Misuse, match=r"1 of 3 probe functions are deployed: .*measure_copies = 3"):
        start_lifetime(world.stand, (300.0,), copies=3)
    world.scheduler.groups.clear()
    with pytest.raises(Misuse, match=r"no schedule group serpline-measure: .*`measure = true`"):
        start_lifetime(world.stand, (300.0,))
    assert not list(world.storage.keys(keys.MEASUREMENTS))


@pytest.mark.parametrize("pauses", [(), (0.0,), (300.0, 0.0)])
def test_a_pause_is_longer_than_nothing(world: World, pauses: tuple[float, ...]):
    """And there is one at least."""
    with pytest.raises(Misuse, match="--intervals takes pauses longer than nothing"):
        start_lifetime(world.stand, pauses)


@pytest.mark.parametrize("pauses", [(300.0, 3.6e12), (300.0, float("inf")), (86_400.0,) * 8])
def test_a_week_is_the_longest(world: World, pauses: tuple[float, ...]):
    """Refused before anything is made, however long it is."""
    with pytest.raises(Misuse, match="the pauses are 7 days together at most"):
        start_lifetime(world.stand, pauses)
    assert not world.scheduler.schedules
    assert not experiment_names(world.storage)
    start_lifetime(world.stand, (86_400.0,) * 7)


def test_a_thousand_probes_is_the_most(world: World):
    """Refused before anything is made."""
    with pytest.raises(Misuse, match="are 1,001 probes, and 1,000 is the most"):
        start_lifetime(world.stand, [1.0] * 1000)
    assert not world.scheduler.schedules


def test_a_role_is_of_the_functions_account_and_partition():
    """Also in the partitions that are not plain aws."""
    arn = "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:x-probe"
    assert role_arn(arn, "x") == "arn:aws-us-gov:iam::123456789012:role/x-schedule-measure"
