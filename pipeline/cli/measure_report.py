"""``serpline measure report``: what was measured, as a page that opens anywhere."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.bootstrap import Place, open_place
from pipeline.catalog import Tables
from pipeline.cli.place import add_lake, lake_of, on_aws, open_tables
from pipeline.cli.screen import counted
from pipeline.errors import Misuse
from pipeline.measure.experiments import collect, experiment_names, pick, read_experiment
from pipeline.settings import Settings
from stages.measure import KINDS, Kind, Reading, kind_of


def add(kinds: Any, common: argparse.ArgumentParser) -> None:
    """Add the words to those of ``measure``."""
    parser = kinds.add_parser(
        "report",
        parents=[common],
        help="a page with the tables and plots: one HTML file, no network",
        description="Without a name the latest of each kind; with two, both side by side.",
    )
    parser.add_argument(
        "experiment", metavar="EXPERIMENT", nargs="?", default="", help="its name, or its beginning"
    )
    parser.add_argument("other", metavar="OTHER", nargs="?", default="", help="another to compare it with")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, default=Path("measurements.html"), help="default: %(default)s"
    )
    add_lake(parser)
    parser.set_defaults(command=report)


def report(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write the page."""
    from pipeline.measure.report import write_report  # noqa: PLC0415

    lake = lake_of(arguments, settings)
    if not on_aws(lake) and not Path(lake).is_dir():
        raise Misuse(f"there is no lake at {lake}: name the one that was measured in with --lake")
    place = open_place(settings, lake=lake)
    tables = open_tables(place)
    known = {name: kind for kind, name in tables.experiments()}
    known |= {name: kind_of(name) for name in experiment_names(place.storage)}
    rows = [
        row
        for name in _chosen(known, arguments.experiment)
        for row in _rows(place, tables, name, known[name])
    ]
    other: list[Reading] = []
    if arguments.other:
        name = pick(known, arguments.other)
        other = _rows(place, tables, name, known[name])
    write_report(rows, other, arguments.output)
    print(f"{arguments.output}: {counted(len(rows) + len(other), 'probe')}")
    return 0


def _chosen(known: Mapping[str, Kind], wanted: str) -> list[str]:
    """The experiment that is meant, or the latest of each kind. Raises ``Misuse`` where there is none."""
    if wanted or not known:
        return [pick(known, wanted)]
    return [pick(known, "", kind) for kind in KINDS if kind in known.values()]


def _rows(place: Place, tables: Tables, name: str, kind: Kind) -> list[Reading]:
    """An experiment's rows, those that were not yet in the table too."""
    if name in experiment_names(place.storage):
        collect(place.storage, tables, read_experiment(place.storage, name))
    return tables.readings(kind, name)
