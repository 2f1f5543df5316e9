"""Stages as processes on a real broker: several at once, one rate, one killed, every task once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.practice.server import PracticeEngine
from tests import servers
from tests.pipeline.kit import each_once, windows_hold
from tests.pipeline.test_local import QUIET, own_sources

START = {"redis": servers.start_redis, "rabbitmq": servers.start_rabbitmq}
RATE, BURST = 60, 4


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a broker of this test's own."""
    folder = tmp_path / "broker"
    folder.mkdir()
    try:
        server = START[request.param](folder)
    except servers.Missing as missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(missing))
    yield server.url
    server.stop()


Serpline = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def serpline(tmp_path: Path, engine: PracticeEngine, broker: str) -> Iterator[Serpline]:
    """Starts the command as a process; whatever is still running at the end is ended."""
    sources = own_sources(tmp_path / "sources", engine.base_url, rate=RATE, burst=BURST)
    environment = {
        **os.environ,
        "SERPLINE_SOURCES": str(sources),
        "SERPLINE_BROKER": broker,
        "SERPLINE_LAKE": str(tmp_path / "lake"),
        "SERPLINE_VISIBILITY": "4",
    }
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "pipeline", *words]
        started.append(subprocess.Popen(command, env=environment, **QUIET))  # noqa: S603  # our own words
        return started[-1]

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
    for process in started:
        process.wait(20)


@pytest.mark.timeout(180)
def test_workers_share_a_run_and_its_rate_and_survive_a_death(
    tmp_path: Path, engine: PracticeEngine, serpline: Serpline
):
    """Three fetch workers keep one rate; one dies with its batch in hand, and nothing is lost or doubled."""
    path = tmp_path / "k.txt"
    path.write_text("\n".join(f"topic number {number}" for number in range(400)))
    serpline("worker", "shard")
    serpline("worker", "aggregate")
    fetchers = [serpline("worker", "fetch", "--source", "practice_page") for _ in range(3)]
    assert serpline("submit", str(path)).wait(30) == 0
    deadline = time.monotonic() + 120
    while len(engine.arrivals) < 100:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    fetchers[0].send_signal(signal.SIGKILL)
    # `status` exits with 0 when every task is accounted for.
    runs = [folder.name for folder in (tmp_path / "lake" / "runs").iterdir()]
    assert len(runs) == 1
    while serpline("status", runs[0]).wait(30) != 0:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert each_once(tmp_path / "lake") == {(f"topic number {number}", 1): 1 for number in range(400)}
    assert windows_hold([arrival.at for arrival in engine.arrivals], RATE, BURST, 0.25) == ""
    # The killed worker's batch was asked again at most once.
    assert len(engine.arrivals) <= 400 + 100


@pytest.mark.timeout(120)
def test_a_worker_that_is_told_to_stop_stores_what_it_has(
    tmp_path: Path, engine: PracticeEngine, serpline: Serpline
):
    """SIGTERM ends a worker within seconds; its batch goes on elsewhere, and nothing is asked twice."""
    path = tmp_path / "k.txt"
    path.write_text("\n".join(f"topic number {number}" for number in range(150)))
    serpline("worker", "shard")
    serpline("worker", "aggregate")
    first = serpline("worker", "fetch", "--source", "practice_page")
    assert serpline("submit", str(path)).wait(30) == 0
    while len(engine.arrivals) < 40:
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    assert first.wait(10) == 0
    assert len(engine.arrivals) < 150
    serpline("worker", "fetch", "--source", "practice_page")
    [run] = [folder.name for folder in (tmp_path / "lake" / "runs").iterdir()]
    deadline = time.monotonic() + 60
    while serpline("status", run).wait(30) != 0:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert len(engine.arrivals) == 150
    assert set(each_once(tmp_path / "lake").values()) == {1}
    # The file dropped again, by anyone, is a run of its own: what the workers hold is never taken up here.
    assert serpline("run", str(path), "--source", "practice_page").wait(60) == 0
    assert serpline("submit", str(path)).wait(30) == 0
    assert len(list((tmp_path / "lake" / "runs").iterdir())) == 3


def test_a_worker_that_cannot_work_exits_with_1(tmp_path: Path, serpline: Serpline):
    """A supervisor learns of it from the exit code."""
    (tmp_path / "file").write_text("")
    assert serpline("worker", "aggregate", "--lake", str(tmp_path / "file" / "lake")).wait(30) == 1
