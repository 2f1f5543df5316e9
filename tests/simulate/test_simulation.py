"""Invariants 1, 4 and 5 under everything that may go wrong, for 200 seeds; and that a mistake would show."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from functools import cache

import pytest

from pipeline.simulate.simulation import Outcome, simulate
from tests.simulate.saboteurs import SABOTEURS

BLOCK = 20
BLOCKS = 10
"""The suite's 200 seeds; `make soak` has many more."""

STRIKES = [
    *(
        f"{when} {effect}"
        for when in ("killed before", "killed after", "throttled", "lost reply of", "timed out", "late")
        for effect in ("send", "ack", "put", "put_new", "pace", "commit")
    ),
    *(
        "killed after receive",
        "throttled look",
        "stored some",
        "conflict",
        "repeated",
        "expired",
        "taken back",
    ),
    *(
        "buried",
        "deploys",
        "settle",
        "repair",
        "told off",
        "shuts",
        "compacts",
        "finds its commit",
        "reads",
        "late deliveries",
    ),
    *("storm", "replaces", "control", "ask robots", "stalled"),
    *(
        "too late",
        "late switch",
        "void pace",
        "void commit",
        "killed before compaction",
        "killed after compaction",
    ),
    *("throttled compaction", "lost reply of compaction", "quota"),
]


@cache
def block(number: int) -> list[Outcome]:
    """The outcomes of twenty seeds."""
    return [simulate(seed) for seed in range(number * BLOCK, (number + 1) * BLOCK)]


@pytest.mark.parametrize("number", range(BLOCKS))
def test_every_task_ends_as_exactly_one_row_whatever_goes_wrong(number: int):
    """Under kills, lost replies, repeats and new releases nothing is lost, doubled or asked too often."""
    failed = [outcome for outcome in block(number) if outcome.violation]
    assert not failed, "\n".join(
        [
            f"{failed[0].violation}\n  serpline simulate --seed {failed[0].seed} --tasks {failed[0].tasks}",
            *failed[0].last,
        ]
    )


def test_every_fault_strikes():
    """The simulations are no fair weather: each fault happens again and again, and many tasks are asked."""
    met: Counter[str] = Counter()
    for number in range(BLOCKS // 2):
        for outcome in block(number):
            met.update(outcome.counts)
    assert {what: met[what] for what in STRIKES if met[what] < 3} == {}
    assert met["ask"] > 10_000


def test_a_seed_is_always_the_same_story():
    """What failed once fails again: in this process, and in one that hashes otherwise."""
    seeds = [3, 17]
    here = [simulate(seed, 200).hash for seed in seeds]
    assert [simulate(seed, 200).hash for seed in seeds] == here
    code = "from pipeline.simulate.simulation import simulate\n" + "\n".join(
        f"print(simulate({seed}, 200).hash)" for seed in seeds
    )
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(  # noqa: S603  # this very interpreter
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == here
    assert here[0] != here[1]


@pytest.mark.parametrize("mistake", SABOTEURS)
def test_a_mistake_is_found_within_a_hundred_seeds(mistake: str):
    """A part with this mistake breaks an invariant soon, and its seed shows it again."""
    parts = SABOTEURS[mistake]
    found = next((outcome for seed in range(100) if (outcome := simulate(seed, 200, parts)).violation), None)
    assert found is not None, f"100 seeds did not notice that {mistake}"
    again = simulate(found.seed, 200, parts)
    assert (again.violation, again.hash) == (found.violation, found.hash)
    assert simulate(found.seed, 200).violation == "", "the seed finds something without the mistake, too"
