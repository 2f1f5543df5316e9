"""``serpline simulate``: the whole pipeline under faults that a seed decides, and what became of it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.errors import Misuse
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.simulate.simulation import Outcome

FEW = 20
"""Seeds of which each has its line; of more, a line now and then says how far it is."""

EVERY = 10.0
"""Seconds between such lines."""


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "simulate",
        parents=[common],
        help="the pipeline under kills, lost replies and repeated messages, in virtual time",
        description="Runs every stage in this process on simulated queues, storage, tables and engine, with "
        "faults that a seed decides, and checks that every task ends as exactly one row, that nothing is "
        "asked too often and that readers see whole commits. No engine is asked and nothing is stored. The "
        "same seed and number of tasks give the same story; docs/simulate.md.",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the seed, or the first of several (0)"
    )
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="how many seeds, one after another (1)"
    )
    parser.add_argument("--tasks", type=int, default=500, metavar="N", help="tasks of each simulation (500)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes side by side (1)")
    parser.set_defaults(command=simulate_seeds)


def simulate_seeds(arguments: argparse.Namespace, _settings: Settings) -> int:
    """Simulate seeds until one fails; 0 where none does, else 1."""
    if min(arguments.seeds, arguments.tasks, arguments.jobs) < 1 or arguments.seed < 0:
        raise Misuse("--seeds, --tasks and --jobs are at least 1, and --seed at least 0")
    began = told = time.monotonic()
    done = requests = kills = 0
    for outcome in _outcomes(arguments):
        done += 1
        requests += outcome.requests
        kills += outcome.kills
        if outcome.violation:
            print("\n".join(failure_lines(outcome)))
            return 1
        if arguments.seeds <= FEW:
            print(_line(outcome), flush=True)
        elif time.monotonic() - told > EVERY:
            told = time.monotonic()
            rate = done / (told - began)
            left = (arguments.seeds - done) / rate
            print(
                f"{done:,} of {arguments.seeds:,} seeds, {rate:.1f} a second, about {left / 60:.0f} min left",
                flush=True,
            )
    print(
        f"{_seeds(done)}, {arguments.tasks:,} tasks each: every task has exactly one row "
        f"({requests:,} requests, {kills:,} kills, {time.monotonic() - began:.1f} s)"
    )
    return 0


def _outcomes(arguments: argparse.Namespace) -> Iterator[Outcome]:
    from pipeline.simulate.simulation import simulate  # noqa: PLC0415  # pyarrow is slow to import

    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    if arguments.jobs == 1:
        yield from (simulate(seed, arguments.tasks) for seed in seeds)
        return
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415  # no other command needs them
    from multiprocessing import get_context  # noqa: PLC0415

    # Fresh processes: a fork would take threads' locks along.
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(partial(simulate, tasks=arguments.tasks), seeds, chunksize=4)
        finally:
            pool.shutdown(cancel_futures=True)


def _line(outcome: Outcome) -> str:
    vain = f", {outcome.in_vain} of them in vain" if outcome.in_vain else ""
    return (
        f"seed {outcome.seed}: {outcome.runs} run{'' if outcome.runs == 1 else 's'}, {outcome.requests:,} "
        f"requests{vain}, {outcome.kills} kills, {outcome.seconds / 60:.0f} virtual minutes: every task has "
        "exactly one row"
    )


def failure_lines(outcome: Outcome) -> Iterator[str]:
    """What is said of a seed that broke an invariant."""
    yield f"seed {outcome.seed} fails: {outcome.violation}"
    yield f"the last of {sum(outcome.counts.values()):,} events (virtual seconds, who, what):"
    yield from (f"  {line}" for line in outcome.last)
    yield f"replay it with: serpline simulate --seed {outcome.seed} --tasks {outcome.tasks}"


def _seeds(number: int) -> str:
    return f"{number:,} seed{'' if number == 1 else 's'}"
