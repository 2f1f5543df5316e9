"""``serpline measure``: what functions run on, how long they live, how they spread."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from pipeline.cli import measure_clean, measure_report
from pipeline.cli.measure_stand import confirming, stand_of
from pipeline.cli.measure_words import count, hold, memories, pauses, told
from pipeline.cli.place import add_lake
from pipeline.errors import PipelineError
from pipeline.settings import Settings
from stages.measure import Experiment, Reading, tree_of

if TYPE_CHECKING:
    from pipeline.catalog import Tables
    from pipeline.measure.experiments import Stand

LOOK = 2.0
"""Seconds between looks for what probes have answered."""


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "measure",
        parents=[common],
        help="measure what functions on AWS run on, how long they live, how they spread",
        description="Experiments with a function that does nothing but look around. They need `measure = "
        "true` in Terraform. Rows go to table measurements.",
    )
    kinds = parser.add_subparsers(metavar="EXPERIMENT", required=True)
    _add_environment(kinds, common)
    _add_lifetime(kinds, common)
    _add_scaling(kinds, common)
    measure_report.add(kinds, common)
    measure_clean.add(kinds, common)


def _add_environment(kinds: Any, common: argparse.ArgumentParser) -> None:
    parser = kinds.add_parser(
        "environment", parents=[common], help="invoke the probe once a configuration, show what it runs on"
    )
    parser.add_argument(
        "--memory",
        metavar="MB,MB",
        type=told(memories),
        default=(),
        help="try these sizes; the function gets its own back",
    )
    _add_shared(parser)
    parser.set_defaults(command=measure_environment)


def _add_lifetime(kinds: Any, common: argparse.ArgumentParser) -> None:
    parser = kinds.add_parser(
        "lifetime",
        parents=[common],
        help="invoke the probe after growing pauses, see what is still the same",
        description="Schedules of AWS carry it for hours; this machine may be off. One may be a minute late.",
    )
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument(
        "--intervals", metavar="5m,10m", type=told(pauses), help="the pauses, each in s, m or h"
    )
    group.add_argument(
        "--resume",
        metavar="EXPERIMENT",
        nargs="?",
        const="",
        help="show how far it is, the latest where none is named, and put its rows into the table",
    )
    _add_shared(parser)
    parser.set_defaults(command=measure_lifetime)


def _add_scaling(kinds: Any, common: argparse.ArgumentParser) -> None:
    parser = kinds.add_parser(
        "scaling",
        parents=[common],
        help="a tree of probes through the queue: how many run at once, how soon",
        description="One probe sends the first level's, and each of them one below itself, level by level.",
    )
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--tree", metavar="LEVELSxWIDTH", type=told(tree_of), help="how deep, how wide: 4x100")
    group.add_argument(
        "--resume", metavar="EXPERIMENT", nargs="?", const="", help="show what it found so far"
    )
    parser.add_argument(
        "--hold", metavar="5s", type=told(hold), default=5.0, help="how long each probe stays (default 5s)"
    )
    parser.add_argument("--max", metavar="N", type=told(count), help="never more than so many at once")
    _add_shared(parser, copies=False)
    parser.set_defaults(command=measure_scaling)


def _add_shared(parser: argparse.ArgumentParser, *, copies: bool = True) -> None:
    if copies:
        parser.add_argument(
            "--copies", metavar="N", type=told(count), default=1, help="use so many copies in turn"
        )
    parser.add_argument("--yes", action="store_true", help="start without asking, whatever else is under way")
    parser.add_argument("--echo", metavar="URL", default="", help="a page that tells its caller's address")
    add_lake(parser)


def measure_environment(arguments: argparse.Namespace, settings: Settings) -> int:
    """Look around; 1 where a configuration gave no answer."""
    from pipeline.cli.measure_screen import show_environment  # noqa: PLC0415
    from pipeline.measure.environment import look_around, start_environment  # noqa: PLC0415

    stand, tables = stand_of(arguments, settings)
    experiment = start_environment(
        stand,
        arguments.memory,
        copies=arguments.copies,
        echo=arguments.echo,
        confirm=confirming(arguments),
    )
    # Closed at once when somebody interrupts: then functions get their own memory back.
    with closing(look_around(stand, experiment)) as seen:
        died = show_environment(seen)
    return _collected(stand, tables(), experiment) or int(died > 0)


def measure_lifetime(arguments: argparse.Namespace, settings: Settings) -> int:
    """Start one, or show how far one is."""
    from pipeline.cli.measure_screen import show_lifetime  # noqa: PLC0415
    from pipeline.measure.experiments import find_experiment, read_readings  # noqa: PLC0415
    from pipeline.measure.lifetime import start_lifetime  # noqa: PLC0415

    stand, tables = stand_of(arguments, settings)
    if arguments.resume is None:
        started = start_lifetime(
            stand,
            arguments.intervals,
            copies=arguments.copies,
            echo=arguments.echo,
            confirm=confirming(arguments),
        )
        _show_progress(stand, started)
        print(f"`serpline measure lifetime --resume {started.experiment}` shows how far it is")
        return 0
    experiment = find_experiment(stand.storage, arguments.resume, "lifetime")
    show_lifetime(read_readings(stand.storage, experiment))
    return _collected(stand, tables(), experiment)


def measure_scaling(arguments: argparse.Namespace, settings: Settings) -> int:
    """Grow a tree and wait for it, or show what one found."""
    from pipeline.cli.measure_screen import show_scaling  # noqa: PLC0415
    from pipeline.measure.experiments import find_experiment, read_readings  # noqa: PLC0415
    from pipeline.measure.scaling import start_scaling  # noqa: PLC0415

    stand, tables = stand_of(arguments, settings)
    if arguments.resume is None:
        levels, width = arguments.tree
        experiment = start_scaling(
            stand,
            levels,
            width,
            hold_s=arguments.hold,
            most=arguments.max,
            echo=arguments.echo,
            confirm=confirming(arguments),
        )
        print(f"experiment {experiment.experiment} is started", file=sys.stderr)
        _await(stand, experiment)
    else:
        experiment = find_experiment(stand.storage, arguments.resume, "scaling")
    rows = read_readings(stand.storage, experiment)
    show_scaling(experiment, rows, _throttles(stand, experiment, rows))
    return _collected(stand, tables(), experiment)


def _throttles(stand: Stand, experiment: Experiment, rows: Sequence[Reading]) -> str:
    from pipeline.measure.throttles import count_throttles  # noqa: PLC0415

    try:
        count = count_throttles(stand.metrics, experiment, rows)
    except PipelineError as error:
        # What the probes saw is shown all the same.
        return f"not known ({error})"
    if count is None:
        return (
            f"not in CloudWatch yet: `serpline measure scaling --resume {experiment.experiment}` in minutes"
        )
    return f"{count:,}, by CloudWatch"


def _collected(stand: Stand, tables: Tables, experiment: Experiment) -> int:
    """Put the rows into the table and say how far it is; 1 where probes are missing."""
    from pipeline.measure.experiments import collect  # noqa: PLC0415

    collect(stand.storage, tables, experiment)
    return _show_progress(stand, experiment)


def _show_progress(stand: Stand, experiment: Experiment) -> int:
    from pipeline.cli.measure_screen import progress_lines  # noqa: PLC0415
    from pipeline.measure.experiments import progress  # noqa: PLC0415

    now = stand.clock()
    seen = progress(stand.storage, experiment, now)
    print("\n".join(progress_lines(experiment, seen, now)))
    return int(bool(seen.missing))


def _await(stand: Stand, experiment: Experiment) -> None:
    """Return when every probe answered, or those that did not should have."""
    from pipeline.measure.experiments import progress  # noqa: PLC0415

    shown = -1
    while True:
        seen = progress(stand.storage, experiment, stand.clock())
        if seen.done != shown:
            print(f"{seen.done:,} of {seen.planned:,} probes answered", file=sys.stderr)
            shown = seen.done
        if seen.over:
            return
        stand.sleep(LOOK)
