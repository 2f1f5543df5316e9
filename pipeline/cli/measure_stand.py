"""What every command of ``serpline measure`` begins with: the deployment, and a question to the operator."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.cli.place import lake_of, on_aws
from pipeline.errors import Misuse
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.catalog import Tables
    from pipeline.measure.experiments import Stand


def stand_of(arguments: argparse.Namespace, settings: Settings) -> tuple[Stand, Callable[[], Tables]]:
    """What experiments are made with, and the tables; ``Misuse`` for a folder and for a wrong echo."""
    lake = lake_of(arguments, settings)
    if not on_aws(lake):
        raise Misuse(f"{lake} is a folder; functions are measured on AWS: name it with --lake s3://BUCKET")
    from pipeline.bootstrap_measure import open_stand  # noqa: PLC0415
    from pipeline.cli.place import open_tables  # noqa: PLC0415

    echo = getattr(arguments, "echo", "")
    place, stand = open_stand(settings, lake=lake, by=_user(), echo=echo)
    return stand, lambda: open_tables(place)


def agreed(what: str) -> bool:
    """Whether the operator says yes; nobody is there to be asked where nobody types."""
    if not sys.stdin.isatty():
        return False
    print(f"{what}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def confirming(arguments: argparse.Namespace) -> Callable[[str], bool]:
    """What answers a question: ``--yes``, or the operator."""
    return lambda what: arguments.yes or agreed(what)


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container's user may have no name.
        return ""
