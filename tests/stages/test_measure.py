"""What one probe saw, and which probes an experiment has: known before the first one runs."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.measure import (
    LONGEST_LEAD,
    PATIENCE,
    Experiment,
    Order,
    Reading,
    decode_order,
    decode_reading,
    encode_reading,
    seconds_of,
    tree_of,
)
from stages.measure_plan import children, enriched, orders, root, size_of_tree
from stages.measurements import measured, measurement_table
from stages.tables import MEASUREMENTS
from tests.stages.measured import reading

NOW = 1_800_000_000.0
NAME = "20270115T080000Z-3f2a"

copies = st.lists(st.integers(0, 9), min_size=1, max_size=5, unique=True).map(
    lambda numbers: tuple(f"serpline-probe-{number}" for number in numbers)
)
pauses = st.lists(st.floats(0.5, 86_400), min_size=1, max_size=12).map(tuple)


def lifetime(functions: tuple[str, ...] = ("serpline-probe",), **fields: Any) -> Experiment:
    return Experiment(experiment=f"lifetime-{NAME}", created_at=NOW, functions=functions, **fields)


def scaling(levels: int, width: int) -> Experiment:
    return Experiment(
        experiment=f"scaling-{NAME}",
        created_at=NOW,
        functions=("serpline-probe",),
        levels=levels,
        width=width,
        hold_s=5.0,
        echo="http://127.0.0.1/echo",
    )


def test_a_reading_is_a_row_with_every_column():
    """What a probe knows is what the table has: a column each, under the same name, in the same order."""
    assert set(Reading.__struct_fields__) == set(MEASUREMENTS.schema.names)


def test_a_reading_goes_through_the_bucket_and_the_table_unchanged():
    """Staged, committed and read again it is the same; what was not known stays not known."""
    bare = reading(0, slot=1)
    whole = reading(
        1.25, slot=2, pause_s=300.0, rest_s=299.5, init_ms=81.25, address="::1", echo_error="e", error="x",
        readings='{"a":1}', receives=3, cold=True, os_release="Amazon Linux 2023", cpu_count=2,
    )  # fmt: skip
    for one in (bare, whole):
        assert decode_reading(encode_reading(one)) == one
    back = measured(measurement_table([bare, whole]))
    assert [msgspec.structs.replace(one, scheduled_at=0.0) for one in back] == [
        msgspec.structs.replace(one, scheduled_at=0.0) for one in (bare, whole)
    ]
    assert back[0].scheduled_at == pytest.approx(bare.scheduled_at, abs=1e-5)


def test_rows_of_an_older_serpline_are_read():
    """They lack columns, or have nothing in them: what was never said is not known."""
    new = measurement_table([reading(1, planned=7, tree="2x3", hold_s=5.0, account_limit=1000, fired=2)])
    old = new.drop_columns(["planned", "tree", "hold_s", "account_limit", "idle_ms", "fired"])
    bare = reading(1)
    assert measured(old) == measured(measurement_table([bare]))
    nulls = old
    for name in ("planned", "tree", "hold_s", "account_limit", "idle_ms", "fired"):
        field = new.schema.field(name)
        nulls = nulls.append_column(field, pa.nulls(1, field.type))
    assert measured(nulls) == measured(old)


@given(copies, pauses)
def test_each_copy_rests_for_each_pause(functions: tuple[str, ...], rests: tuple[float, ...]):
    """A copy's probes are as far apart as the plan says, the first has no pause, and no two are the same."""
    experiment = lifetime(functions, pauses=rests)
    planned = orders(experiment)
    assert len({order.probe for _, order in planned}) == len(planned) == len(functions) * (len(rests) + 1)
    assert [order.scheduled_at for _, order in planned] == sorted(order.scheduled_at for _, order in planned)
    for function in functions:
        own = [order for copy, order in planned if copy == function]
        assert [order.pause_s for order in own] == [None, *rests]
        for before, after in pairwise(own):
            assert math.isclose(after.scheduled_at - before.scheduled_at, after.pause_s or 0, abs_tol=1e-5)


@given(copies, pauses)
def test_copies_take_turns_and_the_first_is_soon(functions: tuple[str, ...], rests: tuple[float, ...]):
    """They begin within the shortest pause, one after the other; none is due in the past."""
    firsts = [
        order.scheduled_at for _, order in orders(lifetime(functions, pauses=rests)) if order.pause_s is None
    ]
    assert len(firsts) == len(functions)
    assert NOW < firsts[0] <= NOW + LONGEST_LEAD + 1e-5
    assert firsts[-1] - firsts[0] < min(rests)
    assert len(set(firsts)) == len(firsts)


@given(st.integers(1, 16), st.integers(1, 60))
def test_a_tree_is_what_its_probes_send(levels: int, width: int):
    """The plan and what probes send each other are one thing: every probe once, levels of one width."""
    experiment = scaling(levels, width)
    sent, new = [root(experiment)], [root(experiment)]
    while new:
        new = [child for order in new for child in children(order)]
        sent += new
    planned = [order for _, order in orders(experiment)]
    assert sent == planned
    assert len({order.probe for order in planned}) == len(planned) == size_of_tree(levels, width)
    assert {order.hold_s for order in planned} == {5.0}
    assert {order.echo for order in planned} == {experiment.echo}
    for level in range(1, levels + 1):
        assert sorted(order.slot for order in planned if order.level == level) == list(range(width))


def test_a_tree_grows_no_more_when_it_should_have_ended():
    """Each of its messages says until when: its levels' holds one after another, and some patience."""
    planned = [order for _, order in orders(scaling(3, 2))]
    assert {order.until for order in planned} == {NOW + 4 * 5.0 + PATIENCE}


def test_a_row_says_what_its_experiment_was():
    """Planned probes, tree, hold and limit, so that two dates can be compared; and how often it fired."""
    experiment = msgspec.structs.replace(scaling(2, 3), limit=1000)
    rows = enriched([reading(1, probe="a"), reading(2, probe="b")], experiment, {"b": 2})
    assert [(row.planned, row.tree, row.hold_s, row.account_limit, row.fired) for row in rows] == [
        (7, "2x3", 5.0, 1000, 1),
        (7, "2x3", 5.0, 1000, 3),
    ]
    [row] = enriched([reading(1)], lifetime(pauses=(60.0,)), {})
    assert (row.planned, row.tree, row.account_limit) == (2, None, None)


@pytest.mark.parametrize(
    ("functions", "memories", "expected"),
    [
        (("a",), (), ["a"]),
        (("a", "b"), (), ["a", "b"]),
        (("a", "b"), (128, 512), ["a", "a", "b", "b"]),
    ],
)
def test_a_configuration_is_a_probe(
    functions: tuple[str, ...], memories: tuple[int, ...], expected: list[str]
):
    """Each copy as it is, or with each memory; none is asked twice under one name."""
    experiment = Experiment(
        experiment=f"environment-{NAME}", created_at=NOW, functions=functions, memories=memories
    )
    planned = orders(experiment)
    assert [function for function, _ in planned] == expected
    assert [order.slot for _, order in planned] == list(range(len(expected)))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"command": "id"}, "unknown field"),
        ({"experiment": "../../keywords"}, "regex"),
        ({"experiment": f"lifetime-{NAME}/../x"}, "regex"),
        ({"hold_s": 61}, "<= 60"),
        ({"hold_s": -1}, ">= 0"),
        ({"level": 17}, "<= 16"),
        ({"width": 501}, "<= 500"),
        ({"echo": "x" * 2_001}, "<= 2000"),
        ({"slot": "0"}, "Expected `int`"),
    ],
)
def test_an_order_is_strict(change: dict[str, Any], what: str):
    """What is no order, or asks for more than a probe may do, is none."""
    good = {"experiment": f"lifetime-{NAME}", "scheduled_at": NOW}
    assert decode_order(msgspec.json.encode(good)) == Order(f"lifetime-{NAME}", NOW)
    with pytest.raises(msgspec.ValidationError, match=what):
        decode_order(msgspec.json.encode(good | change))


@pytest.mark.parametrize(("text", "seconds"), [("5m", 300.0), ("90s", 90.0), ("1.5h", 5400.0), ("0.5s", 0.5)])
def test_times_are_written_with_their_unit(text: str, seconds: float):
    """Seconds, minutes, hours; fractions too."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 m", "5d", "1e3s", "٣m", ".5s", "nan", "infs"])
def test_what_is_no_time_is_told(text: str):
    """With the word itself, and how it is written."""
    with pytest.raises(ValueError, match="is no time: write 90s, 5m"):
        seconds_of(text)


def test_a_tree_is_written_as_levels_and_width():
    """``4x100``: four levels, a hundred wide."""
    assert tree_of("4x100") == (4, 100)


@pytest.mark.parametrize("text", ["", "4", "4x", "x4", "0x3", "3x0", "4X4", "-1x3", "4x1000000000", "٣x٣"])
def test_what_is_no_tree_is_told(text: str):
    """With the word itself, and how it is written."""
    with pytest.raises(ValueError, match="is no tree: write LEVELSxWIDTH"):
        tree_of(text)


@pytest.mark.parametrize("name", [f"walk-{NAME}", "lifetime", f"Lifetime-{NAME}"])
def test_only_three_kinds_are_experiments(name: str):
    """A description of another kind is no experiment."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"experiment": name, "created_at": 1, "functions": []}, Experiment)
