"""The recorder as a process, and what it has written down so far."""

from __future__ import annotations

import os
import socket
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.emulator.tools import ROOT
from tests.servers import Server, free_port


class RecordedCall(msgspec.Struct, frozen=True):
    """One call that passed. ``function`` is the caller's name, ``action`` what its policy must allow."""

    at: float
    function: str
    service: str
    operation: str
    action: str
    resource: str
    status: int
    lost: bool
    ms: float
    sent: int
    received: int


class Recording(Server):
    """A running recorder in front of ``upstream``."""

    def __init__(self, folder: Path, upstream: str, *, port: int = 0) -> None:
        port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "calls.jsonl"
        self.log.touch()
        words = ["-m", "tests.emulator.recorder", "--upstream", upstream, "--port", str(port)]
        command = [sys.executable, *words, "--log", str(self.log)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        super().__init__(f"http://127.0.0.1:{port}", folder, [command], env, lambda: listens(port))

    def mark(self) -> int:
        """The place in the log up to which calls are written; ``calls`` takes it."""
        return self.log.stat().st_size

    def calls(self, since: int = 0) -> list[RecordedCall]:
        """The calls that ended after a mark."""
        with self.log.open("rb") as log:
            log.seek(since)
            whole = log.read().rpartition(b"\n")[0]
        return [msgspec.json.decode(line, type=RecordedCall) for line in whole.splitlines()]

    def turn(self, upstream: str) -> None:
        """Send calls elsewhere from now on."""
        self._tell("upstream", upstream)

    def lose(self, *rules: tuple[str, str, float]) -> None:
        """Keep back the answers of these calls: (service, operation, probability); none ends it."""
        named = [dict(zip(("service", "operation", "probability"), rule, strict=True)) for rule in rules]
        self._tell("lose", msgspec.json.encode(named).decode())

    def _tell(self, what: str, body: str) -> None:
        request = urllib.request.Request(  # noqa: S310 - ours
            f"{self.url}/_recorder/{what}", data=body.encode(), method="POST"
        )
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - ours


def counted(calls: Iterable[RecordedCall]) -> Counter[tuple[str, str]]:
    """How often each function (of those a name stands for) called each operation: (function, operation)."""
    return Counter((call.function, f"{call.service}:{call.operation}") for call in calls)


def listens(port: int) -> bool:
    """Whether something takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
