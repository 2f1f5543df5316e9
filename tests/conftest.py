"""The suites that need tools of their own: run where those are, named in one line where they are not."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.emulator.tools import missing

SUITES = {name: Path(__file__).parent / name for name in ("emulator", "terraform")}
MISSING = pytest.StashKey[str]()

ON_AWS = ("tests/emulator/", "tests/lambdas/", "tests/terraform/", "tests/pipeline/test_planning.py")
"""One process runs these one after another: they share packages, an emulator and what it counted."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Find out which suites lack their tools."""
    for name, folder in SUITES.items():
        suite = [item for item in items if folder in item.path.parents]
        reason = missing(name) if suite else ""
        for item in suite:
            item.stash[MISSING] = f"tests/{name}: {reason}" if reason else ""


class Grouped(LoadScopeScheduling):
    """Gives each group of tests to one process."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Grouped:
    """Who shares out the tests where several processes run them."""
    return Grouped(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what lacks its tools; where the tests are the gate (``CI=true``) fail it."""
    if reason := item.stash.get(MISSING, ""):
        if os.environ.get("CI") == "true":
            pytest.fail(f"not to be left out here: {reason}", pytrace=False)
        pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out, and why."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    for reason, tests in sorted(reasons.items()):
        terminalreporter.write_line(f"left out {tests} tests: {reason}", yellow=True)


def _group(nodeid: str) -> str:
    """Whose tests stay in one process: a file's, so that what it starts is started once."""
    return "aws" if nodeid.startswith(ON_AWS) else nodeid.partition("::")[0]
