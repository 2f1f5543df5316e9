"""``serpline simulate``: what a user sees of a seed that holds, of many, and of one that fails."""

from __future__ import annotations

import re

import pytest

from pipeline.cli.main import main
from pipeline.cli.simulate_command import failure_lines
from pipeline.simulate.simulation import simulate
from tests.simulate.saboteurs import SABOTEURS


def test_each_of_a_few_seeds_has_its_line(capsys: pytest.CaptureFixture[str]):
    """A seed, what happened, and the promise that held; at the end the sum."""
    assert main(["simulate", "--seed", "7", "--seeds", "2", "--tasks", "40"]) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"seed 7: \d runs?, \d+ requests.*, \d+ kills, .* every task has exactly one row", first
    )
    assert second.startswith("seed 8: ")
    assert last.startswith("2 seeds, 40 tasks each: every task has exactly one row (")


def test_many_seeds_have_one_line_together(capsys: pytest.CaptureFixture[str]):
    """Side by side they are as many as one after another."""
    assert main(["simulate", "--seeds", "24", "--tasks", "4", "--jobs", "2"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("24 seeds, 4 tasks each: ")


def test_a_seed_that_fails_says_what_and_how_to_see_it_again():
    """The broken promise, what happened last, and the command for exactly this story."""
    parts = SABOTEURS["a commit appends without a look at what is there"]
    outcome = next(outcome for seed in range(20) if (outcome := simulate(seed, 100, parts)).violation)
    first, second, *events, last = failure_lines(outcome)
    assert first.startswith(f"seed {outcome.seed} fails: ")
    assert "2 times" in first
    assert second.startswith("the last of ")
    assert 10 < len(events) <= 40
    assert last == f"replay it with: serpline simulate --seed {outcome.seed} --tasks 100"


@pytest.mark.parametrize("words", [["--seeds", "0"], ["--tasks", "-3"], ["--seed", "-1"], ["--jobs", "0"]])
def test_numbers_that_make_no_sense_are_misuse(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["simulate", *words]) == 2
    assert "at least" in capsys.readouterr().err
