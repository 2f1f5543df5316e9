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

MEASURING = "tests/emulator/test_measure.py"
"""It has a system of its own."""

TOGETHER = {
    "tests/pipeline/test_planning.py": "tests/emulator/",  # what the emulator counted
    **{f"tests/{folder}/": f"tests/{folder}/" for folder in ("emulator", "lambdas", "terraform")},
}
"""What goes to one process, one after another, because it shares what it starts. Else that is a file."""

LONGEST = (
    "tests/emulator/",
    MEASURING,
    "tests/pipeline/test_crash_points.py",
    "tests/pipeline/test_local.py",
    "tests/simulate/test_simulation.py",
    "tests/lambdas/",
    "tests/terraform/",
    "tests/pipeline/test_workers.py",
    "tests/stages/test_ten_million.py",
    "tests/pipeline/test_readers.py",
    "tests/pipeline/test_catalog.py",
)
"""What begins first, so that no process is left with it at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, and find out which suites lack their tools."""
    ranks = {group: rank for rank, group in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(_group(item.nodeid), len(ranks)))
    for name, folder in SUITES.items():
        suite = [item for item in items if folder in item.path.parents]
        reason = missing(name) if suite else ""
        for item in suite:
            item.stash[MISSING] = f"tests/{name}: {reason}" if reason else ""


class Grouped(LoadScopeScheduling):
    """Gives each group of tests to one process, in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

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
    """Whose tests stay in one process, so that what they start is started once."""
    file = nodeid.partition("::")[0]
    if file == MEASURING:
        return file
    return next((group for begins, group in TOGETHER.items() if file.startswith(begins)), file)
