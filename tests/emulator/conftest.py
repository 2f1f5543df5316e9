"""One emulator for tests of the harness, and one with the whole system; the first who asks starts it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.emulator.deploy import build_packages
from tests.emulator.emulator import Emulator
from tests.emulator.recording import Recording
from tests.emulator.system import System
from tests.emulator.work import HORIZON, LANE_REST, SLOW_RATE
from tests.servers import free_port

SOURCES = {
    "practice_api": {"rate": 200, "burst": 50, "concurrency": 8, "lanes": 2, "max_concurrency": 4},
    "practice_page": {"rate": SLOW_RATE, "burst": 10, "concurrency": 8, "max_concurrency": 2},
}
LAST = ("test_roles.py", "test_destroyed.py")
"""They look back at what all others called, and take the shared system away and put it up again."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what looks back at the others behind them."""
    items.sort(key=lambda item: LAST.index(item.path.name) if item.path.name in LAST else -1)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulator, Recording]]:
    """An emulator without the system: whoever uses it may fill it with what they like."""
    folder = tmp_path_factory.mktemp("bare")
    recorder_port = free_port()
    emulator = Emulator(folder / "emulator", functions_endpoint=f"http://127.0.0.1:{recorder_port}")
    recording = Recording(folder / "recorder", emulator.url, port=recorder_port)
    try:
        emulator.start()
        recording.start()
        yield emulator, recording
    finally:
        recording.stop()
        emulator.stop()


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The whole system, applied once for the session."""
    build_packages()
    folder = tmp_path_factory.mktemp("system")
    variables = {
        "default_source": "practice_api",
        "alarms": True,
        "function_environment": {
            "SERPLINE_HORIZON": str(HORIZON),
            "SERPLINE_LANE_REST_MINUTES": str(LANE_REST / 60),
        },
    }
    system = System(folder, name="serpline-test", sources=SOURCES, variables=variables)
    try:
        system.start(disturbing=True)
        yield system
    finally:
        system.stop()


@pytest.fixture
def system(deployed: System) -> System:
    """The shared system with empty queues and nothing going wrong; tables keep the rows of earlier runs."""
    deployed.clear()
    return deployed
