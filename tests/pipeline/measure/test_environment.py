"""Environment: a probe a configuration, and functions that are afterwards as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import Misuse
from pipeline.measure.environment import look_around, restore, start_environment
from pipeline.measure.experiments import progress, read_experiment
from tests.pipeline.measure.kit import FUNCTION, World


def test_each_memory_is_tried_and_the_own_given_back(tmp_path: Path):
    """Copy by copy; the reading says what the function had then, and each is a staged object."""
    world = World(tmp_path, copies=2)
    experiment = start_environment(world.stand, (128, 1769), copies=2)
    seen = list(look_around(world.stand, experiment))
    other = f"{FUNCTION}-1"
    tried = [(FUNCTION, 128), (FUNCTION, 1769), (other, 128), (other, 1769)]
    assert [(one.function, one.memory_mb) for one in seen] == tried
    assert [one.reading.memory_mb for one in seen if one.reading] == [128, 1769, 128, 1769]
    assert world.lambda_.memory == {FUNCTION: 512, other: 512}
    assert progress(world.storage, experiment, world.clock()).done == 4


def test_without_memories_nothing_is_changed(world: World):
    """The deployed configuration is what is looked at."""
    [seen] = look_around(world.stand, start_environment(world.stand))
    assert seen.reading is not None
    assert seen.memory_mb == 512
    assert not world.lambda_.resized


def test_a_probe_that_dies_is_told_and_the_others_go_on(world: World):
    """With Lambda's own words; it has no object and is missing later."""
    experiment = start_environment(world.stand, (128, 256))
    world.lambda_.dies = lambda function: world.lambda_.memory[function] == 128
    dead, alive = look_around(world.stand, experiment)
    assert dead.reading is None
    assert dead.error == "serpline-probe ended without an answer: RequestId: 1 Error: Runtime exited"
    assert alive.reading is not None
    late = progress(world.storage, experiment, world.clock() + 1000)
    assert late.missing == (f"{experiment.experiment}-0-0",)


def test_a_size_that_lambda_refuses_is_told_and_taken_back(world: World):
    """The sentence names size and function; the function has its own again."""
    experiment = start_environment(world.stand, (256, 9000))
    with pytest.raises(Misuse, match="Lambda does not give 9000 MB to serpline-probe"):
        list(look_around(world.stand, experiment))
    assert world.lambda_.memory[FUNCTION] == 512


def test_who_stops_in_the_middle_leaves_the_function_as_it_was(world: World):
    """A reader that has enough ends it cleanly."""
    looking = look_around(world.stand, start_environment(world.stand, (128, 256)))
    next(looking)
    looking.close()
    assert world.lambda_.memory[FUNCTION] == 512


def test_a_killed_experiment_is_restored_later(world: World):
    """From what was written down before; a size that somebody else gave it stays."""
    experiment = read_experiment(world.storage, start_environment(world.stand, (128, 256)).experiment)
    world.lambda_.memory[FUNCTION] = 256
    assert [copy.function for copy in restore(world.stand, experiment)] == [FUNCTION]
    assert world.lambda_.memory[FUNCTION] == 512
    world.lambda_.memory[FUNCTION] = 2048
    assert not restore(world.stand, experiment)
