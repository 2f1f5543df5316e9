"""An account without a wire: probe functions, one-time schedules, and a stand in a folder."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from pipeline import keys
from pipeline.measure.experiments import Stand
from pipeline.measure.machine import Machine
from pipeline.measure.probes import Probes
from pipeline.measure.probing import Environment, Function, Hands, probe
from pipeline.measure.schedules import Schedules
from pipeline.queues.memory import MemoryBroker
from pipeline.storage.folder import FolderStorage
from stages.measure import Order, Reading
from tests.pipeline.kit import Clock

NAME = "serpline"
FUNCTION = "serpline-probe"
REGION = "arn:aws-cn:lambda:cn-north-1:123456789012:function:"

MACHINE = Machine("arm64", "boot-1", "Amazon Linux 2023", "6.1", "Graviton", 2, {"memory_kb": {}})


def refused(code: str, message: str = "so it is") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "asked")


class FakeLambda:
    """Functions with a memory each, that answer orders as probes do."""

    def __init__(self, copies: int = 1, *, account: int = 1000, unreserved: int = 900) -> None:
        self.memory = {keys.probe_function(NAME, number): 512 for number in range(copies)}
        self.account = account
        self.unreserved = unreserved
        self.reserved: int | None = None
        self.mapped: int | None = 500
        self.updating = 0
        self.dies: Callable[[str], bool] = lambda _function: False
        self.answer: Callable[[str, Order], Reading] | None = None
        self.resized: list[tuple[str, int]] = []

    def get_function_configuration(self, FunctionName: str) -> dict[str, Any]:  # noqa: N803
        if FunctionName not in self.memory:
            raise refused("ResourceNotFoundException")
        self.updating -= 1
        status = "InProgress" if self.updating > 0 else "Successful"
        memory = self.memory[FunctionName]
        return {"FunctionArn": REGION + FunctionName, "MemorySize": memory, "LastUpdateStatus": status}

    def get_account_settings(self) -> dict[str, Any]:
        limit = {"ConcurrentExecutions": self.account, "UnreservedConcurrentExecutions": self.unreserved}
        return {"AccountLimit": limit}

    def get_function_concurrency(self, FunctionName: str) -> dict[str, Any]:  # noqa: N803, ARG002
        return {} if self.reserved is None else {"ReservedConcurrentExecutions": self.reserved}

    def list_event_source_mappings(self, FunctionName: str) -> dict[str, Any]:  # noqa: N803, ARG002
        scaling = {} if self.mapped is None else {"ScalingConfig": {"MaximumConcurrency": self.mapped}}
        return {"EventSourceMappings": [scaling]}

    def update_function_configuration(self, FunctionName: str, MemorySize: int) -> None:  # noqa: N803
        if MemorySize > 3008:
            raise refused("InvalidParameterValueException", "MemorySize over your account's limit")
        self.memory[FunctionName] = MemorySize
        self.resized.append((FunctionName, MemorySize))
        self.updating = 3

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        if self.dies(FunctionName):
            said = b'{"errorMessage": "RequestId: 1 Error: Runtime exited", "errorType": "Runtime.ExitError"}'
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(said)}
        assert self.answer is not None
        reading = self.answer(FunctionName, msgspec.json.decode(Payload, type=Order))
        return {"Payload": io.BytesIO(msgspec.json.encode(reading))}


class FakeScheduler:
    """Schedules by name, two a page; ``failing`` and ``keeping`` answer instead where they raise."""

    def __init__(self) -> None:
        self.schedules: dict[str, dict[str, Any]] = {}
        self.failing: Callable[[str], None] = lambda _name: None
        self.keeping: Callable[[str], None] = lambda _name: None
        self.groups = {"serpline-measure"}

    def create_schedule(self, **given: Any) -> None:
        if given["GroupName"] not in self.groups:
            raise refused("ResourceNotFoundException")
        if given["Name"] in self.schedules:
            raise refused("ConflictException")
        self.failing(given["Name"])
        self.schedules[given["Name"]] = given

    def list_schedules(self, **given: Any) -> dict[str, Any]:
        if given["GroupName"] not in self.groups:
            raise refused("ResourceNotFoundException")
        names = sorted(name for name in self.schedules if name.startswith(given.get("NamePrefix", "")))
        at = int(given.get("NextToken", 0))
        page = {"Schedules": [{"Name": name} for name in names[at : at + 2]]}
        return page | ({"NextToken": str(at + 2)} if names[at + 2 :] else {})

    def delete_schedule(self, Name: str, GroupName: str) -> None:  # noqa: N803, ARG002
        self.keeping(Name)
        if Name not in self.schedules:
            raise refused("ResourceNotFoundException")
        del self.schedules[Name]


class Rows:
    """A table that keeps each probe once."""

    def __init__(self) -> None:
        self.rows: dict[str, Reading] = {}

    def append_readings(self, readings: Sequence[Reading]) -> int:
        new = {row.probe: row for row in readings if row.probe not in self.rows}
        self.rows |= new
        return len(new)


class World:
    """A stand and everything behind it, on one clock."""

    def __init__(self, folder: Path, *, copies: int = 1) -> None:
        self.clock = Clock()
        self.folder = folder
        self.storage = FolderStorage(folder)
        self.lambda_ = FakeLambda(copies)
        self.scheduler = FakeScheduler()
        self.broker = MemoryBroker(max_receives=5)
        self.queue = self.broker.queue(keys.probe_queue(NAME))
        self.environments = {function: Environment(self.clock(), 0.25) for function in self.lambda_.memory}
        self.lambda_.answer = self.probed
        self.stand = Stand(
            name=NAME,
            storage=self.storage,
            probes=Probes(self.lambda_, NAME, sleep=lambda _seconds: None),  # type: ignore[arg-type]
            schedules=Schedules(self.scheduler, keys.schedule_group(NAME)),
            queue=self.queue,
            metrics=self,
            clock=self.clock,
            sleep=self.sleep,
            by="tests",
            contact="tests@example.org",
        )

    def get_metric_statistics(self, **_given: Any) -> Any:
        """As a CloudWatch that knows nothing yet."""
        return {"Datapoints": []}

    def sleep(self, seconds: float) -> None:
        self.clock.now += seconds

    def hands(self, **other: Any) -> Hands:
        """What probes work with here."""
        given: dict[str, Any] = {
            "clock": self.clock,
            "sleep": self.sleep,
            "read": lambda: MACHINE,
            "ask": lambda _order: ("192.0.2.1", None),
            "queue": self.queue,
            "storage": self.storage,
        }
        return Hands(**{**given, **other})

    def probed(self, function: str, order: Order, **came: Any) -> Reading:
        """What a function does with an order."""
        given = {"started": self.clock(), **came}
        memory = self.lambda_.memory[function]
        return probe(order, self.environments[function], Function(function, memory), self.hands(), **given)

    def drained(self) -> int:
        """Do every order in the queue, as its mapping would; gives how many they were."""
        count = 0
        while received := self.queue.receive(1, wait=0):
            order = msgspec.json.decode(received[0].body, type=Order)
            self.probed(FUNCTION, order, sent_at=order.scheduled_at)
            self.queue.ack(received[0])
            count += 1
        return count

    def fired(self, *, dies: Callable[[str], bool] = lambda _name: False) -> None:
        """Let every schedule fire at its time; what dies leaves nothing."""
        for name, schedule in sorted(
            self.scheduler.schedules.items(), key=lambda one: one[1]["ScheduleExpression"]
        ):
            order = msgspec.json.decode(schedule["Target"]["Input"], type=Order)
            self.clock.now = max(self.clock.now, order.scheduled_at)
            if not dies(name):
                self.probed(schedule["Target"]["Arn"].removeprefix(REGION), order)
        self.scheduler.schedules.clear()
