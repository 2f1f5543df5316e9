"""The whole system on the emulator: engine, emulator, recorder, deployment, and hands to work with them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from pipeline import keys
from stages.run import run_id_of
from tests.emulator.deploy import Deployment
from tests.emulator.emulator import ACCOUNT, REGION, Emulator, client
from tests.emulator.faults import Faults, Rule
from tests.emulator.recording import Recording, listens
from tests.emulator.tables import Tables
from tests.servers import Server, free_port

STAGES_OF_QUEUES = ("keywords", "fetch", "results")
LOOK_EVERY = 0.25
LEDGER_EVERY = 2.0


class FunctionFailed(RuntimeError):
    """A function ended in an error, or in none of its own; the message has it."""


class Engine(Server):
    """The practice engine as a process of its own."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pipeline", "practice", "--port", str(port)]
        super().__init__(f"http://127.0.0.1:{port}", folder, [command], os.environ, lambda: listens(port))


class System:
    """One deployment called ``name``. ``stop`` ends all that was started, also after a failed ``start``."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "serpline",
        sources: Mapping[str, Mapping[str, Any]],
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        recorder_port = free_port()
        self.name = name
        self.bucket = f"{name}-{ACCOUNT}-{REGION}"
        self.engine = Engine(folder / "engine")
        self.emulator = Emulator(folder / "emulator", functions_endpoint=f"http://127.0.0.1:{recorder_port}")
        self.recording = Recording(folder / "recorder", self.emulator.url, port=recorder_port)
        self.faults = Faults(folder / "faults", self.emulator.url)
        here = {source: {"base_url": self.engine.url, **terms} for source, terms in sources.items()}
        self._variables = {"name": name, "sources": here, **(variables or {})}
        self._folder = folder
        self._clients: dict[str, Any] = {}
        self._disturbing = False
        self.deployment: Deployment | None = None

    @property
    def servers(self) -> tuple[Server, ...]:
        """What runs, in the order of starting."""
        return (self.engine, self.emulator, self.recording, *([self.faults] if self._disturbing else []))

    def start(self, *, disturbing: bool = False) -> None:
        """Start everything and apply the configuration; ``disturbing`` makes ready for ``disturbed``."""
        self._disturbing = disturbing
        for server in self.servers:
            server.start()
        self.deployment = Deployment(self._folder / "terraform", self.emulator.url, self._variables)
        self.deployment.init()
        self.deployment.apply()

    def stop(self) -> None:
        """End everything."""
        for server in reversed(self.servers):
            server.stop()

    def client(self, service: str) -> Any:
        """A client of a service, not recorded; one each."""
        if service not in self._clients:
            self._clients[service] = client(service, self.emulator.url)
        return self._clients[service]

    def drop(self, key: str, body: bytes) -> str:
        """Put a keyword file into the bucket; gives the id of its run."""
        put = self.client("s3").put_object(Bucket=self.bucket, Key=key, Body=body)
        return run_id_of(self.bucket, key, put["VersionId"])

    def invoke(self, stage: str, event: object) -> Any:
        """The answer of a function (``compact``, ``fetch-practice_api-0``); raises where it fails."""
        answer = self.client("lambda").invoke(
            FunctionName=f"{self.name}-{stage}", Payload=json.dumps(event).encode()
        )
        payload = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise FunctionFailed(f"{stage} failed: {payload}")
        return payload

    def queue_depths(self) -> dict[str, int]:
        """Messages of each queue, under way and delayed ones too, by its name without the deployment's."""
        words = ("", "NotVisible", "Delayed")
        sqs, depths = self.client("sqs"), {}
        for url in self._queue_urls():
            told = sqs.get_queue_attributes(
                QueueUrl=url, AttributeNames=[f"ApproximateNumberOfMessages{word}" for word in words]
            )["Attributes"]
            depths[self._short(url)] = sum(map(int, told.values()))
        return depths

    def dead_letters(self) -> dict[str, list[str]]:
        """The bodies in each dead-letter queue that is not empty."""
        urls = [url for url in self._queue_urls() if url.endswith("-dead")]
        found = {self._short(url): self._peek(url) for url in urls}
        return {queue: bodies for queue, bodies in found.items() if bodies}

    def _peek(self, url: str) -> list[str]:
        """The bodies in a queue, which stay there."""
        sqs, seen = self.client("sqs"), {}
        while batch := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=30).get(
            "Messages", []
        ):
            seen |= {message["ReceiptHandle"]: message["Body"] for message in batch}
        for receipt in seen:
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
        return list(seen.values())

    def clear(self) -> None:
        """Empty the queues and forget faults; tables and objects stay, each run has its own."""
        self.recording.lose()
        self.recording.turn(self.emulator.url)
        for url in self._queue_urls():
            self.client("sqs").purge_queue(QueueUrl=url)

    @contextmanager
    def disturbed(self, *rules: Rule, lost: Iterable[tuple[str, str, float]] = ()) -> Iterator[Faults]:
        """For a block the functions' calls meet these faults, and lose these answers."""
        self.faults.forget()
        self.faults.set_rules(rules)
        self.recording.lose(*lost)
        self.recording.turn(self.faults.url)
        try:
            yield self.faults
        finally:
            self.recording.lose()
            self.recording.turn(self.emulator.url)

    def objects(self, prefix: str) -> list[str]:
        """The keys below a prefix."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def is_complete(self, run_id: str) -> bool:
        """Whether the ledger has marked a run."""
        try:
            self.client("s3").head_object(Bucket=self.bucket, Key=keys.complete(run_id))
        except ClientError:
            return False
        return True

    def wait_until_complete(
        self,
        run_ids: Iterable[str],
        within: float = 120.0,
        *,
        progress: Callable[[dict[str, int]], object] = lambda _depths: None,
        dead: bool = False,
    ) -> None:
        """Return when the ledger has marked these runs; its schedule is slow, so it is asked for here.

        Raises ``TimeoutError`` telling what is where, and at once for a dead letter unless ``dead``.
        """
        waiting, deadline, next_look = list(run_ids), time.monotonic() + within, 0.0
        while True:
            depths = self.queue_depths()
            progress(depths)
            if not dead and any(count for queue, count in depths.items() if queue.endswith("-dead")):
                raise RuntimeError(f"dead letters: {self.dead_letters()}\n{self.complaints()}")
            now = time.monotonic()
            busy = any(count for queue, count in depths.items() if not queue.endswith("-dead"))
            if now > next_look and (not busy or now > next_look + 10):
                for stage, action in (("conduct", "conduct"), ("compact", "ledger")):
                    with suppress(FunctionFailed):  # as by schedule: the next turn comes
                        self.invoke(stage, {"action": action})
                waiting = [run_id for run_id in waiting if not self.is_complete(run_id)]
                next_look = time.monotonic() + LEDGER_EVERY
            if not waiting:
                return
            if now > deadline:
                raise TimeoutError(
                    f"after {within:.0f} s incomplete: {waiting}; queues: {depths}\n{self.complaints()}"
                )
            time.sleep(LOOK_EVERY)

    def wait_for(self, done: Callable[[], object], within: float = 60.0) -> None:
        """Return when ``done`` gives something true. Raises ``TimeoutError``."""
        deadline = time.monotonic() + within
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {within:.0f} s; {self.queue_depths()}\n{self.complaints()}")
            time.sleep(LOOK_EVERY)

    def wait_until_quiet(self, within: float = 90.0) -> None:
        """Return when queues and backlog are empty, and the ledger had its turn; dead letters stay."""

        def quiet() -> bool:
            for _ in range(2):
                if any(count for queue, count in self.queue_depths().items() if not queue.endswith("-dead")):
                    return False
                time.sleep(LOOK_EVERY)
            if not self.objects("backlog/"):
                return True
            self.invoke("conduct", {"action": "conduct"})
            return False

        self.wait_for(quiet, within)
        self.invoke("compact", {"action": "ledger"})

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """A query over ``pages``, ``shards`` and the views, read by pyiceberg and answered by DuckDB."""
        tables = Tables(self.client("glue"), self.emulator.url, self.name.replace("-", "_"))
        return tables.ask(sql)

    def logs(self, stage: str) -> list[str]:
        """What a function has logged, line by line."""
        pages = self.client("logs").get_paginator("filter_log_events")
        try:
            found = pages.paginate(logGroupName=f"/aws/lambda/{self.name}-{stage}").build_full_result()
        except ClientError:
            return []
        return [line for event in found["events"] for line in event["message"].splitlines()]

    def complaints(self, most: int = 12) -> str:
        """The last lines that speak of errors, of all functions."""
        functions = self.client("lambda").get_paginator("list_functions").paginate().build_full_result()
        stages = [one["FunctionName"].removeprefix(f"{self.name}-") for one in functions["Functions"]]
        words = ("error", "exception", "traceback", "timed out")
        said = [
            f"{stage}: {line}"
            for stage in stages
            for line in self.logs(stage)
            if any(word in line.lower() for word in words)
        ]
        return "\n".join(said[-most:])

    def _queue_urls(self) -> list[str]:
        return list(self.client("sqs").list_queues(QueueNamePrefix=f"{self.name}-").get("QueueUrls", []))

    def _short(self, url: str) -> str:
        return url.rpartition("/")[2].removeprefix(f"{self.name}-")
