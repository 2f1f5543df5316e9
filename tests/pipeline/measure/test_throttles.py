"""Throttles: what CloudWatch counted while a tree ran, or that it has not counted yet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.errors import Unavailable
from pipeline.measure.throttles import count_throttles
from stages.measure import Experiment
from tests.pipeline.measure.kit import FUNCTION, refused
from tests.stages.measured import START, reading

TREE = Experiment(
    experiment="scaling-20270115T080000Z-3f2a",
    created_at=START + 70,
    functions=(FUNCTION,),
    levels=1,
    width=2,
)
ROWS = [reading(71), reading(130), reading(200)]


class CloudWatch:
    """Sums by minute since the start."""

    def __init__(self, sums: dict[int, float]) -> None:
        self.sums = sums
        self.asked: dict[str, Any] = {}

    def get_metric_statistics(self, **given: Any) -> Any:
        self.asked = given
        points = [
            {"Timestamp": datetime.fromtimestamp(START + 60 * at, UTC), "Sum": value}
            for at, value in self.sums.items()
        ]
        return {
            "Datapoints": [one for one in points if given["StartTime"] <= one["Timestamp"] < given["EndTime"]]
        }


def test_the_minutes_of_the_tree_are_added_up():
    """From the minute in which it was written down to that of its last start; neither before nor after."""
    client = CloudWatch({0: 100.0, 1: 2.0, 2: 0.0, 3: 5.0, 4: 100.0})
    assert count_throttles(client, TREE, ROWS) == 7
    assert (client.asked["Namespace"], client.asked["MetricName"]) == ("AWS/Lambda", "Throttles")
    assert client.asked["Dimensions"] == [{"Name": "FunctionName", "Value": FUNCTION}]
    assert (client.asked["Period"], client.asked["Statistics"]) == (60, ["Sum"])


def test_a_minute_that_is_counted_when_its_probes_end_counts_too():
    """As on an emulator: the last probe began in one minute and ended in the next."""
    rows = [*ROWS, reading(230, held=30.0)]
    assert count_throttles(CloudWatch({1: 2.0, 4: 1.0, 5: 100.0}), TREE, rows) == 3


@pytest.mark.parametrize("sums", [{}, {1: 2.0, 2: 0.0}])
def test_what_is_not_there_yet_is_not_known(sums: dict[int, float]):
    """CloudWatch is minutes late: without the last minute there is no number, and nothing is not zero."""
    assert count_throttles(CloudWatch(sums), TREE, ROWS) is None


def test_a_cloudwatch_that_refuses_is_told():
    """As every service."""

    class Refusing(CloudWatch):
        def get_metric_statistics(self, **_given: Any) -> Any:
            raise refused("ThrottlingException")

    with pytest.raises(Unavailable, match="CloudWatch is busy"):
        count_throttles(Refusing({}), TREE, ROWS)
