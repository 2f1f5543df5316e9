"""AWS having a bad day: a proxy that answers some calls in AWS's own error shapes, resets others.

An answer that is lost after the work was done is the recorder's to make (``Recording.lose``): microburst cuts
answers by their body, and S3's and SQS's answers to writes have none.
"""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.emulator.emulator import client, end_group
from tests.emulator.tools import tool
from tests.servers import Server, free_port

Rule = dict[str, Any]
"""A rule of microburst's: ``service``, ``operation``, how often (``times`` or ``probability``), and what."""


class Faults(Server):
    """A running microburst in front of ``upstream``; without rules it hands everything on."""

    def __init__(self, folder: Path, upstream: str) -> None:
        port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        words = ["--upstream", upstream, "--port", str(port), "--no-resign"]
        env = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "LANG": "C.UTF-8"}
        command = [str(tool("python")), str(Path(__file__).with_name("burst.py")), *words]
        super().__init__(f"http://127.0.0.1:{port}", folder, [command], env, self._healthy)

    def start(self) -> None:
        """Start it; its first call takes seconds, in which it learns AWS, and is made in the background."""
        super().start()
        self._first = threading.Thread(target=self._call_once, daemon=True)
        self._first.start()

    def _call_once(self) -> None:
        with suppress(BotoCoreError, ClientError):
            client("s3", self.url).list_buckets()

    def set_rules(self, rules: Sequence[Rule]) -> None:
        """From the next call on these rules hold, and no others."""
        self._first.join()
        self._ask("rules", "POST", json.dumps(list(rules)).encode())

    def fired(self) -> list[dict[str, Any]]:
        """What was done to calls so far, the latest 10,000."""
        found: list[dict[str, Any]] = json.loads(self._ask("fired?limit=10000", "GET"))
        return found

    def forget(self) -> None:
        """Empty the list of what was done."""
        self._ask("fired", "DELETE")

    def stop(self) -> None:
        """End it at once: left to itself it waits for connections that callers keep open."""
        for process in self._processes:
            end_group(process.pid)
            process.wait()
        super().stop()

    def _healthy(self) -> bool:
        try:
            return bool(self._ask("health", "GET"))
        except OSError:
            return False

    def _ask(self, what: str, method: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        request = urllib.request.Request(  # noqa: S310 - ours
            f"{self.url}/_microburst/{what}", data=body, headers=headers, method=method
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - ours
            return bytes(answer.read())


def throttle(service: str, operation: str, *, probability: float) -> Rule:
    """A share of calls is told to slow down, in the words of the service."""
    code = {
        "s3": "SlowDown",
        "sqs": "RequestThrottled",
        "dynamodb": "ProvisionedThroughputExceededException",
        "glue": "ThrottlingException",
    }.get(service, "ThrottlingException")
    status = 503 if service in {"s3", "sqs"} else 400  # botocore retries SQS's throttles by status alone
    return _rule(service, operation, probability, error={"code": code, "status": status})


def outage(service: str, operation: str, *, probability: float) -> Rule:
    """A share of calls ends as an internal error."""
    return _rule(service, operation, probability, error={"code": "InternalError", "status": 500})


def reset(service: str, operation: str, *, probability: float) -> Rule:
    """A share of calls finds its connection reset, and nothing is carried out."""
    return _rule(service, operation, probability, reset=True)


def _rule(service: str, operation: str, probability: float, **what: Any) -> Rule:
    return {"service": service, "operation": operation, "probability": probability, **what}
