"""Throttles: how often Lambda turned a tree's probes away, as CloudWatch counted it.

A queue's deliveries do not tell: Lambda tries a throttled one again by itself, and it counts as the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from pipeline.aws_errors import translated
from pipeline.errors import Unavailable
from stages.measure import Experiment, Reading

_MINUTE = timedelta(minutes=1)


class MetricsClient(Protocol):
    """What is asked of boto3's client of CloudWatch."""

    def get_metric_statistics(self, **given: Any) -> Any:
        """The datapoints of one metric."""


def count_throttles(client: MetricsClient, experiment: Experiment, rows: Sequence[Reading]) -> int | None:
    """The throttles of its function while it ran; None where CloudWatch has not got its last minute yet.

    They are the function's: what else invoked it in these minutes is in them too.
    """
    last = _minute(max((row.started_at for row in rows), default=experiment.created_at))
    # A minute belongs to the invocations that began in it; an emulator counts them when they end.
    end = _minute(max((row.finished_at for row in rows), default=experiment.created_at))
    with translated(Unavailable, "CloudWatch"):
        told = client.get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="Throttles",
            Dimensions=[{"Name": "FunctionName", "Value": experiment.functions[0]}],
            StartTime=_minute(experiment.created_at),
            EndTime=end + _MINUTE,
            Period=60,
            Statistics=["Sum"],
        )
    points = told["Datapoints"]
    if not any(one["Timestamp"] >= last for one in points):
        return None
    return int(sum(one["Sum"] for one in points))


def _minute(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds // 60 * 60, UTC)
