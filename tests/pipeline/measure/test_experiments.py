"""Experiments: found by name, looked at while they run, their rows committed exactly once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pipeline import keys
from pipeline.catalog import Tables
from pipeline.errors import Misuse, Unreadable
from pipeline.iceberg import open_folder_catalog
from pipeline.measure.environment import start_environment
from pipeline.measure.experiments import (
    collect,
    experiment_names,
    find_experiment,
    new_name,
    progress,
    read_readings,
    refuse,
    write_down,
)
from pipeline.measure.lifetime import start_lifetime
from pipeline.measure.scaling import start_scaling
from stages.measure import LONGEST_LEAD, PATIENCE, Experiment
from tests.pipeline.measure.kit import FUNCTION, Rows, World
from tests.stages.measured import reading


def begun(world: World, kind: str = "lifetime") -> str:
    """An experiment of one probe of each kind but lifetime, which has two."""
    fields = {"pauses": (300.0,)} if kind == "lifetime" else {}
    world.clock.now += 60
    return write_down(
        world.stand, kind, functions=(FUNCTION,), memory_before={FUNCTION: 512}, **fields
    ).experiment  # type: ignore[arg-type]


STARTS: dict[str, Callable[..., Experiment]] = {
    "environment": lambda stand, **ask: start_environment(stand, (128,), **ask),
    "lifetime": lambda stand, **ask: start_lifetime(stand, (300.0,), **ask),
    "scaling": lambda stand, **ask: start_scaling(stand, 1, 2, **ask),
}


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("other", ["lifetime", "scaling"])
def test_while_another_is_under_way_it_is_asked_first(world: World, kind: str, other: str):
    """They share the functions: a tree leaves warm environments, a new size ends those that rest."""
    STARTS[other](world.stand, confirm=refuse)
    world.clock.now += 1
    asked: list[str] = []

    def answer(what: str) -> bool:
        asked.append(what)
        return len(asked) > 1

    counts = "2 by schedule, 0 in the queue" if other == "lifetime" else "0 by schedule, 1 in the queue"
    with pytest.raises(Misuse, match=f"not started: probes of another experiment are to come: {counts}"):
        STARTS[kind](world.stand, confirm=answer)
    assert len(experiment_names(world.storage)) == 1
    STARTS[kind](world.stand, confirm=answer)
    assert len(experiment_names(world.storage)) == 2


def test_a_name_says_kind_and_moment(world: World):
    """Two that begin in one second have different names."""
    assert new_name("scaling", world.clock()).startswith("scaling-20270115T080000Z-")
    assert len({new_name("scaling", world.clock()) for _ in range(20)}) > 15


def test_what_is_written_down_says_who_and_when(world: World):
    """Before anything is sent; it is found again under its name, and by its beginning."""
    name = begun(world)
    found = find_experiment(world.storage, name)
    assert (found.experiment, found.by, found.contact) == (name, "tests", "tests@example.org")
    assert find_experiment(world.storage, name[:12]) == found


def test_without_a_name_the_latest_of_its_kind_is_meant(world: World):
    """Whatever else was measured since."""
    names = [begun(world, kind) for kind in ("lifetime", "lifetime", "scaling")]
    assert find_experiment(world.storage, "", "lifetime").experiment == names[1]
    assert sorted(experiment_names(world.storage)) == sorted(names)


def test_a_resume_of_nothing_is_told(world: World):
    """With what there is instead; a name of two is as little a name."""
    with pytest.raises(Misuse, match="no experiment lifetime to look at; none was started"):
        find_experiment(world.storage, "", "lifetime")
    scaling = begun(world, "scaling")
    with pytest.raises(Misuse, match="no experiment lifetime to look at; none was started"):
        find_experiment(world.storage, "", "lifetime")
    with pytest.raises(Misuse, match=f"there is no experiment walk; there are {scaling}"):
        find_experiment(world.storage, "walk")
    with pytest.raises(Misuse, match=f"no experiment lifetime {scaling}"):
        find_experiment(world.storage, scaling, "lifetime")
    begun(world, "scaling")
    with pytest.raises(Misuse, match="2 experiments begin with 'scaling'"):
        find_experiment(world.storage, "scaling")


def test_progress_tells_done_from_due_from_missing(world: World):
    """A probe that died is missing when its time and some patience are over, and is named."""
    experiment = start_lifetime(world.stand, (300.0, 600.0))
    start = experiment.created_at + LONGEST_LEAD
    seen = progress(world.storage, experiment, world.clock())
    assert (seen.planned, seen.done, seen.missing, seen.next_at) == (3, 0, (), start)
    assert not seen.over

    world.fired(dies=lambda name: name.endswith("-1"))
    seen = progress(world.storage, experiment, start + 300 + PATIENCE - 1)
    assert (seen.done, seen.missing, seen.next_at) == (2, (), None)
    assert not seen.over
    seen = progress(world.storage, experiment, start + 300 + PATIENCE + 1)
    assert seen.missing == (f"{experiment.experiment}-0-1",)
    assert seen.over


def test_rows_are_committed_once(tmp_path: Path):
    """However often and by whomever it is collected, in a real table: a probe is one row."""
    world = World(tmp_path)
    experiment = start_lifetime(world.stand, (300.0, 600.0))
    with closing(open_folder_catalog(tmp_path)) as catalog:
        tables = Tables(catalog)
        tables.create()
        assert collect(world.storage, tables, experiment) == 0
        world.fired(dies=lambda name: name.endswith("-2"))
        assert collect(world.storage, tables, experiment) == 2
        assert collect(world.storage, Tables(catalog), experiment) == 0
        world.scheduler.schedules.clear()
        late = reading(9, experiment=experiment.experiment, probe=f"{experiment.experiment}-0-2", slot=2)
        assert tables.append_readings([late, late]) == 1
        assert tables.append_readings([late]) == 0
        rows = tables.readings("lifetime", experiment.experiment)
        assert sorted(row.probe for row in rows) == [f"{experiment.experiment}-0-{slot}" for slot in range(3)]
        staged = {row.probe: row for row in read_readings(world.storage, experiment)}
        for row in rows:
            if row.slot != 2:
                assert row.readings == staged[row.probe].readings
                assert row.started_at == pytest.approx(staged[row.probe].started_at, abs=1e-5)
        assert not tables.readings("scaling", experiment.experiment)


def test_a_lake_that_never_measured_is_only_looked_at(tmp_path: Path):
    """Whoever asks for readings there finds none, and makes no table for them."""
    with closing(open_folder_catalog(tmp_path)) as catalog:
        tables = Tables(catalog)
        tables.create()
        assert tables.experiments() == []
        assert tables.readings("lifetime", "lifetime-1") == []
        assert not catalog.table_exists((catalog.name, "measurements"))


def test_experiments_do_not_mix(tmp_path: Path):
    """Of two in one commit, each is looked for by itself."""
    first = reading(1, experiment="lifetime-1", probe="p")
    second = reading(2, experiment="scaling-1", kind="scaling", probe="p")
    with closing(open_folder_catalog(tmp_path)) as catalog:
        tables = Tables(catalog)
        tables.create()
        assert tables.append_readings([first]) == 1
        assert tables.append_readings([first, second]) == 1
        assert [row.kind for row in tables.readings("scaling", "scaling-1")] == ["scaling"]
        assert tables.experiments() == [("lifetime", "lifetime-1"), ("scaling", "scaling-1")]


def test_what_is_no_reading_is_named(world: World):
    """With its key, and what to do about it; other objects in its folder are nobody's probes."""
    experiment = start_lifetime(world.stand, (300.0,))
    world.storage.put(keys.reading(experiment.experiment, "something-else"), b"{}")
    assert collect(world.storage, Rows(), experiment) == 0
    world.storage.put(keys.reading(experiment.experiment, f"{experiment.experiment}-0-0"), b"{}")
    with pytest.raises(Unreadable, match=f"{experiment.experiment}-0-0.json is no reading"):
        collect(world.storage, Rows(), experiment)
