"""The suites that need tools of their own: run where those are, named in one line where they are not."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.emulator.tools import missing

SUITES = {name: Path(__file__).parent / name for name in ("emulator", "terraform")}
LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip a suite whose tools are missing; where the tests are the gate (``CI=true``) end at once."""
    config.stash[LEFT_OUT] = []
    for name, folder in SUITES.items():
        suite = [item for item in items if folder in item.path.parents]
        reason = missing(name) if suite else ""
        if not reason:
            continue
        sentence = f"{len(suite)} tests of tests/{name}: {reason}"
        if os.environ.get("CI") == "true":
            raise pytest.UsageError(f"not to be left out here: {sentence}")
        config.stash[LEFT_OUT].append(sentence)
        _skip(suite, reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out."""
    if left_out := config.stash.get(LEFT_OUT, []):
        terminalreporter.write_line(f"left out {'; '.join(left_out)}", yellow=True)


def _skip(items: Iterable[pytest.Item], reason: str) -> None:
    for item in items:
        item.add_marker(pytest.mark.skip(reason=reason))
