"""``python -m infra.packages``: build the functions' zips and print a line for each."""

from __future__ import annotations

import argparse
import sys

from infra.packages.build import build
from infra.packages.targets import KINDS, LAMBDA_PYTHON, TARGETS
from infra.packages.wheels import PackageError


def main() -> int:
    """Build what was asked for, everything by default; 1 with a sentence where that failed."""
    parser = argparse.ArgumentParser(prog="python -m infra.packages", description=__doc__)
    names = [target.name for target in TARGETS]
    parser.add_argument("--kind", action="append", choices=KINDS, help="this kind alone (may be repeated)")
    parser.add_argument("--target", action="append", choices=names, help="this machine alone (the same)")
    given = parser.parse_args()
    targets = [target for target in TARGETS if target.name in (given.target or names)]
    if any(target.compiler() is None for target in targets):
        sys.stderr.write(
            f"There is no Python {LAMBDA_PYTHON} here to compile with: functions will start more slowly,"
            " and the zips differ from those of a machine that has one.\n"
        )
    try:
        for target in targets:
            for kind in given.kind or KINDS:
                sys.stdout.write(f"{build(kind, target)}\n")
                sys.stdout.flush()
    except PackageError as error:
        sys.stderr.write(f"package: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
