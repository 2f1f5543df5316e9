"""The command ``serpline``: its words, and what an error looks like."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from pipeline.cli import (
    compact_command,
    control_command,
    measure_command,
    plan_command,
    practice_command,
    query_command,
    redrive_command,
    repair_command,
    retry_command,
    run_command,
    settle_command,
    simulate_command,
    sources_command,
    status_command,
    submit_command,
    trace_command,
    worker_command,
)
from pipeline.errors import Misuse, PipelineError
from pipeline.settings import read_settings

COMMANDS = (
    run_command,
    plan_command,
    submit_command,
    status_command,
    trace_command,
    query_command,
    control_command,
    redrive_command,
    repair_command,
    settle_command,
    retry_command,
    compact_command,
    worker_command,
    sources_command,
    practice_command,
    measure_command,
    simulate_command,
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where help is."""

    def error(self, message: str) -> NoReturn:
        raise Misuse(f"{message}; see `{self.prog} --help`")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code: 0 done, 1 failed or incomplete, 2 misuse, 130 interrupted."""
    given = list(arguments if arguments is not None else sys.argv[1:])
    # Before parsing, so that a misuse can be traced as well.
    verbose = "--verbose" in given
    try:
        settings = read_settings()
        parsed = _parser().parse_args(given)
        code: int = parsed.command(parsed, settings)
    except PipelineError as error:
        return _failed(error, 2 if isinstance(error, Misuse) else 1, verbose=verbose)
    except KeyboardInterrupt as interruption:
        said = str(interruption)
        print(f"serpline: {said if said else 'interrupted'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    # The last resort: whatever it was, a user gets a sentence and the way to the rest.
    except Exception as error:  # noqa: BLE001
        if verbose:
            traceback.print_exc()
        print(
            f"serpline: unexpected {type(error).__name__}: {' '.join(str(error).split())}; "
            "this is a defect, --verbose shows where",
            file=sys.stderr,
        )
        return 1
    return code


def _failed(error: PipelineError, code: int, *, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    print(f"serpline: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="serpline", description="Keyword files in, search-result tables out.")
    parser.add_argument("--version", action="version", version=f"serpline {version('serpline')}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="debug logs, and a traceback with an error")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for command in COMMANDS:
        command.add(commands, common)
    return parser
