"""The functions that are measured, as Lambda has them: invoked, resized, and how many may run at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from botocore.exceptions import ClientError

from pipeline import keys
from pipeline.aws_errors import code_of, translated
from pipeline.errors import Misuse, Permanent, Unavailable
from stages.measure import Order, Reading

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

RESIZE_TRIES = 120
RESIZE_PAUSE = 1.0
"""Seconds between looks whether a function has its new memory."""


class Copy(msgspec.Struct, frozen=True):
    """One copy of the probe: its name, its ARN and its memory."""

    function: str
    arn: str
    memory_mb: int


class Concurrency(msgspec.Struct, frozen=True):
    """How many invocations may run at once: in the account, of it for anybody, of the probe by its queue.

    ``reserved`` is what is kept for the probe alone, ``mapped`` what its queue's mapping hands over at once;
    both are None where nothing is said.
    """

    account: int
    unreserved: int
    reserved: int | None = None
    mapped: int | None = None

    @property
    def most(self) -> int:
        """What a tree may take."""
        own = self.unreserved if self.reserved is None else self.reserved
        return own if self.mapped is None else min(own, self.mapped)


class ProbeDied(Permanent):
    """The probe ended without an answer; the text is what Lambda said of it."""


class Probes:
    """The copies of the probe of one installation."""

    def __init__(
        self, client: LambdaClient, name: str, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._name = name
        self._sleep = sleep

    def copies(self, count: int) -> tuple[Copy, ...]:
        """The first so many copies. Raises ``Misuse`` where fewer are deployed."""
        found = []
        for number in range(count):
            copy = self.copy(keys.probe_function(self._name, number))
            if copy is None:
                raise Misuse(
                    f"{number} of {count} probe functions are deployed: set `measure = true` and "
                    f"`measure_copies = {count}`, then `terraform apply`"
                )
            found.append(copy)
        return tuple(found)

    def copy(self, function: str) -> Copy | None:
        """One copy; None where it is not deployed."""
        with translated(Unavailable, f"the function {function}"):
            try:
                told = self._client.get_function_configuration(FunctionName=function)
            except ClientError as error:
                if code_of(error) == "ResourceNotFoundException":
                    return None
                raise
        return Copy(function, told["FunctionArn"], told["MemorySize"])

    def concurrency(self) -> Concurrency:
        """What the account allows, and what the probe's reservation and mapping leave of it."""
        function = keys.probe_function(self._name)
        with translated(Unavailable, f"the function {function}"):
            account = self._client.get_account_settings()["AccountLimit"]
            reserved = self._client.get_function_concurrency(FunctionName=function)
            mappings = self._client.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
        at_once = [one.get("ScalingConfig", {}).get("MaximumConcurrency") for one in mappings]
        return Concurrency(
            account["ConcurrentExecutions"],
            account["UnreservedConcurrentExecutions"],
            reserved.get("ReservedConcurrentExecutions"),
            next((one for one in at_once if one is not None), None),
        )

    def resize(self, function: str, memory_mb: int) -> None:
        """Give it so much memory, and return when it has it. Raises ``Misuse`` for what Lambda refuses."""
        with translated(Unavailable, f"the function {function}"):
            try:
                self._client.update_function_configuration(FunctionName=function, MemorySize=memory_mb)
            except ClientError as error:
                if code_of(error) in ("ValidationException", "InvalidParameterValueException"):
                    raise Misuse(f"Lambda does not give {memory_mb} MB to {function}: {error}") from error
                raise
            for _ in range(RESIZE_TRIES):
                told = self._client.get_function_configuration(FunctionName=function)
                if told.get("LastUpdateStatus", "Successful") == "Successful":
                    return
                self._sleep(RESIZE_PAUSE)
        raise Unavailable(f"{function} does not get its {memory_mb} MB: look at it in the console")

    def invoke(self, function: str, order: Order) -> Reading:
        """The reading of one probe, waited for. Raises ``ProbeDied`` where it ended without one."""
        with translated(Unavailable, f"the function {function}"):
            answer = self._client.invoke(FunctionName=function, Payload=msgspec.json.encode(order))
            body = answer["Payload"].read()
        if answer.get("FunctionError"):
            raise ProbeDied(f"{function} ended without an answer: {_said(body)}")
        try:
            return msgspec.json.decode(body, type=Reading)
        except msgspec.DecodeError as error:
            raise ProbeDied(f"{function} is no probe of this serpline: {error}") from error


def _said(body: bytes) -> str:
    try:
        told: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        told = None
    words = told.get("errorMessage") if isinstance(told, dict) else None
    return " ".join(str(words if words else body.decode(errors="replace")).split())[:300]
