"""The brokers under contract. Each test gets a queue of its own on a server shared by the session.

SQS is moto's, inside this process, or the emulator that ``AWS_ENDPOINT_URL_SQS`` names.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from pipeline.queues.kombu import KombuBroker
from pipeline.queues.memory import MemoryBroker
from pipeline.queues.protocol import Broker, Queue
from pipeline.queues.sqs import SqsBroker
from tests import servers

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_RECEIVES = 3
BRIEF = 0.5
"""A visibility timeout on Redis that a test can sit out."""
REPOSITORY = Path(__file__).parents[3]
_numbers = itertools.count(1)


class Place:
    """One broker and this test's queue on it; every ``consumer`` is a connection of its own."""

    def __init__(self, kind: str, server: servers.Server | None, url: str) -> None:
        self.kind = kind
        self.server = server
        self.url = url
        self.name = f"contract-{os.getpid()}-{next(_numbers)}"
        self._memory = MemoryBroker(max_receives=MAX_RECEIVES)
        self._opened: list[Broker] = []
        self._same: Queue | None = None
        self._processes: list[subprocess.Popen[str]] = []
        self.any_bytes = kind != "sqs"
        """Whether a body can be something else than JSON text."""
        self.grain = 1.0 if kind == "sqs" else 0.0
        """What times are rounded up to, in seconds."""
        self.crowd = 100 if kind == "sqs" else 1000
        """How many messages are many; moto looks through all of them at every call."""

    def broker(self, *, visibility: float = 3600.0) -> Broker:
        """Another connection to the same broker."""
        if self.kind == "memory":
            return self._memory
        broker: Broker
        if self.kind == "sqs":
            broker = SqsBroker(sqs_client(), create=True, max_receives=MAX_RECEIVES, visibility=visibility)
        else:
            broker = KombuBroker(self.url, max_receives=MAX_RECEIVES, visibility=visibility)
        self._opened.append(broker)
        return broker

    def consumer(self, *, visibility: float = 3600.0) -> Queue:
        """The queue of this test, over a connection of its own."""
        return self.broker(visibility=visibility).queue(self.name)

    def same_consumer(self) -> Queue:
        """One consumer for all the examples of a test."""
        self._same = self._same or self.consumer()
        return self._same

    def other_process(self, deed: str) -> subprocess.Popen[str]:
        """A process that has done the deed (see ``holder.py``) and now sleeps, to be killed."""
        command = [sys.executable, "-m", "tests.pipeline.queues.holder", self.url, self.name, deed]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)  # noqa: S603
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        return process

    def close(self) -> None:
        """Empty the queues, so that a server does not fill up, and end what is left."""
        for process in self._processes:
            kill(process)
        for broker in self._opened:
            broker.close()


def sqs_client() -> SQSClient:
    """A client of the SQS under test."""
    known = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client("sqs", region_name="eu-central-1", **known)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL: no handler runs, nothing is given back."""
    if process.returncode is None:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    yield from _running(servers.start_redis, tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    yield from _running(servers.start_rabbitmq, tmp_path_factory.mktemp("rabbitmq"))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS inside this process, empty."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_SQS", raising=False)
    with mock_aws():
        yield


@pytest.fixture(params=["memory", "kombu-memory", "kombu-redis", "kombu-amqp", "sqs"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each broker there is."""
    yield from _place(request)


@pytest.fixture(params=["kombu-redis", "kombu-amqp"])
def server_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each broker that is a server, so that it can outlive its consumers and they can outlive it."""
    yield from _place(request)


@pytest.fixture(params=["kombu-redis"])
def redis_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield from _place(request)


@pytest.fixture(params=["kombu-amqp"])
def amqp_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield from _place(request)


def _place(request: pytest.FixtureRequest) -> Iterator[Place]:
    fixture = {"kombu-redis": "redis_server", "kombu-amqp": "rabbitmq_server"}.get(request.param)
    if request.param == "sqs" and "AWS_ENDPOINT_URL_SQS" not in os.environ:
        request.getfixturevalue("aws")
    server: servers.Server | None = request.getfixturevalue(fixture) if fixture else None
    place = Place(request.param, server, server.url if server else "memory://")
    yield place
    place.close()


def _running(start: Callable[[Path], servers.Server], folder: Path) -> Iterator[servers.Server]:
    try:
        server = start(folder)
    except servers.Missing as missing:
        # On a laptop a missing server costs these tests; where the tests are the gate it is a failure.
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    yield server
    server.stop()
