"""One-time schedules of EventBridge Scheduler: they carry an experiment while nobody's machine is on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
from botocore.exceptions import ClientError

from pipeline.aws_errors import code_of, translated
from pipeline.errors import Misuse, Unavailable
from stages.measure import Order


class SchedulerClient(Protocol):
    """What is asked of boto3's client of Scheduler."""

    def create_schedule(self, **given: Any) -> Any:
        """One schedule."""

    def list_schedules(self, **given: Any) -> Any:
        """A page of a group's schedules."""

    def delete_schedule(self, **given: Any) -> Any:
        """Without one."""


class Schedules:
    """The schedules of one group. They are deleted by AWS when they have fired."""

    def __init__(self, client: SchedulerClient, group: str) -> None:
        self._client = client
        self._group = group

    def add(self, order: Order, function_arn: str, role_arn: str) -> None:
        """Have the function told this order when it is due; one that is there already stays as it is.

        Raises ``Misuse`` where there is no such group.
        """
        due = datetime.fromtimestamp(order.scheduled_at, UTC)
        with translated(Unavailable, f"the schedule group {self._group}"):
            try:
                self._client.create_schedule(
                    Name=order.probe,
                    GroupName=self._group,
                    ScheduleExpression=f"at({due:%Y-%m-%dT%H:%M:%S})",
                    ScheduleExpressionTimezone="UTC",
                    FlexibleTimeWindow={"Mode": "OFF"},
                    ActionAfterCompletion="DELETE",
                    Target={
                        "Arn": function_arn,
                        "RoleArn": role_arn,
                        "Input": msgspec.json.encode(order).decode(),
                        # A probe that comes minutes late would measure another pause.
                        "RetryPolicy": {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 1},
                    },
                )
            except ClientError as error:
                if code_of(error) == "ResourceNotFoundException":
                    raise Misuse(
                        f"there is no schedule group {self._group}: switch measuring on with "
                        "`measure = true` and `terraform apply`"
                    ) from error
                if code_of(error) != "ConflictException":
                    raise

    def names(self, beginning: str = "") -> Iterator[str]:
        """The schedules that have not fired yet and whose names begin so; none where there is no group."""
        given: dict[str, Any] = {"GroupName": self._group, "MaxResults": 100}
        if beginning:
            given["NamePrefix"] = beginning
        while True:
            with translated(Unavailable, f"the schedule group {self._group}"):
                try:
                    page = self._client.list_schedules(**given)
                except ClientError as error:
                    if code_of(error) != "ResourceNotFoundException":
                        raise
                    return
            yield from (one["Name"] for one in page["Schedules"])
            if not page.get("NextToken"):
                return
            given["NextToken"] = page["NextToken"]

    def remove(self, name: str) -> None:
        """Without this one; one that fired meanwhile is gone already."""
        with translated(Unavailable, f"the schedule {name}"):
            try:
                self._client.delete_schedule(Name=name, GroupName=self._group)
            except ClientError as error:
                if code_of(error) != "ResourceNotFoundException":
                    raise
