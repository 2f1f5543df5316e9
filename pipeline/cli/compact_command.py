"""``serpline compact``: many small files of a lake's tables become few, and what is old goes."""

from __future__ import annotations

import argparse
import math
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline.bootstrap import Place, open_place
from pipeline.cli.place import add_lake, lake_of, on_aws
from pipeline.compaction import KEEP_HOURS, Compacted, Compactor, TableUpkeep
from pipeline.errors import Misuse
from pipeline.settings import Settings

LEAST_HOURS = 1.0
"""A commit writes its files before a snapshot names them, and a query reads for a while: no age is less."""


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "compact",
        parents=[common],
        help="make few sorted files of many small ones, and remove what is old",
        description="Runs beside runs and queries, whose answers it does not change; docs/compaction.md.",
    )
    add_lake(parser)
    parser.add_argument(
        "--older-than",
        type=float,
        default=KEEP_HOURS,
        metavar="HOURS",
        help=f"keep replaced files and the snapshots that name them for so long (default {KEEP_HOURS:.0f})",
    )
    parser.add_argument(
        "--with-athena",
        action="store_true",
        help="on AWS: have Athena do it (OPTIMIZE, VACUUM), as a deployment with SERPLINE_COMPACTION=athena",
    )
    parser.set_defaults(command=compact)


def compact(arguments: argparse.Namespace, settings: Settings) -> int:
    """Compact a lake; 0, or 1 where a partition was given up because another process was faster."""
    hours = arguments.older_than
    if not (math.isfinite(hours) and hours >= LEAST_HOURS):
        raise Misuse(f"--older-than takes {LEAST_HOURS:.0f} hour or more: younger files may be in use")
    done: list[TableUpkeep] = []
    lake = lake_of(arguments, settings)
    if not on_aws(lake) and not (Path(lake) / "catalog.sqlite3").is_file():
        raise Misuse(f"no lake at {lake}: run `serpline run FILE` first")
    if arguments.with_athena and not on_aws(lake):
        raise Misuse(f"{lake} is no lake on AWS: leave --with-athena out")
    place = open_place(settings, lake=lake)
    if arguments.with_athena or (on_aws(lake) and settings.compaction == "athena"):
        return _with_athena(place, settings, hours)
    with closing(place.open_catalog()) as catalog:
        for upkeep in Compactor(catalog, place.lake).compact(hours):
            done.append(upkeep)
            print("\n".join(_lines(upkeep)), end="\n" if any(_lines(upkeep)) else "", flush=True)
    if not any(line for upkeep in done for line in _lines(upkeep)):
        print("nothing to compact")
    return 1 if any(one.given_up for upkeep in done for one in upkeep.partitions) else 0


def _with_athena(place: Place, settings: Settings, hours: float) -> int:
    """The same in Athena, which goes on with a statement also where the waiting is given up."""
    from pipeline.athena_compaction import AthenaCompactor, workgroup  # noqa: PLC0415
    from pipeline.athena_statements import AthenaStatements  # noqa: PLC0415
    from pipeline.bootstrap_aws import aws_clients  # noqa: PLC0415  # boto3

    athena = AthenaStatements(aws_clients(settings).athena, workgroup(settings.name), settings.database)
    states = []
    with closing(place.open_catalog()) as catalog:
        for ran in AthenaCompactor(athena, catalog, clock=place.clock).compact(hours):
            states.append(ran.state)
            cost = f", {_megabytes(ran.bytes)} read, about ${ran.cost:.6f}" if ran.cost else ""
            print(f"{ran.statement}: {ran.reason or ran.state}{cost}", flush=True)
    if not states:
        print("nothing to compact")
    return 1 if "failed" in states else 0


def _lines(upkeep: TableUpkeep) -> list[str]:
    lines = [_partition_line(one) for one in upkeep.partitions]
    if upkeep.left_out:
        lines.append(f"{upkeep.table}: left as it is: {upkeep.left_out}")
    if upkeep.snapshots or upkeep.removed.files:
        lines.append(
            f"{upkeep.table}: {_count(upkeep.snapshots, 'snapshot')} expired, "
            f"{_count(upkeep.removed.files, 'file')} ({_megabytes(upkeep.removed.bytes)}) removed"
        )
    return lines


def _partition_line(one: Compacted) -> str:
    line = (
        f"{one.table} {one.partition}: {_count(one.files, 'file')} ({_megabytes(one.bytes)}) "
        f"→ {_count(one.files_after, 'file')} ({_megabytes(one.bytes_after)})"
    )
    return f"{line}; another process changed {_count(one.given_up, 'group')}" if one.given_up else line


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
