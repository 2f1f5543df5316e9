"""Metrics in the log: what CloudWatch's embedded format asks for, line by line."""

from __future__ import annotations

import threading
from typing import Any

import orjson
import pytest

from pipeline.emf import MOST_VALUES, EmfMetrics
from tests.pipeline.kit import Clock


class Told:
    """Metrics of a stage, and the lines that they told."""

    def __init__(self, source: str = "") -> None:
        self.raw: list[str] = []
        self.clock = Clock(1_800_000_000.1234)
        self.metrics = EmfMetrics("Serpline/test", "fetch", source, self.raw.append, self.clock)

    def lines(self) -> list[dict[str, Any]]:
        self.metrics.flush()
        told, self.raw[:] = [orjson.loads(line) for line in self.raw], []
        return told


def test_a_line_is_what_cloudwatch_reads():
    """One JSON object on one line: metadata, dimensions and values, each named where the format wants it."""
    told = Told("brave")
    told.metrics.add("pages_ok", 2)
    told.metrics.add("pages_ok")
    told.metrics.observe("latency_ms", 7)
    told.metrics.observe("lag_s", 0.5)
    told.metrics.flush()
    assert "\n" not in told.raw[0]
    assert told.lines() == [
        {
            "_aws": {
                "Timestamp": 1_800_000_000_123,
                "CloudWatchMetrics": [
                    {
                        "Namespace": "Serpline/test",
                        "Dimensions": [["stage"], ["stage", "source"]],
                        "Metrics": [
                            {"Name": "lag_s", "Unit": "Seconds"},
                            {"Name": "latency_ms", "Unit": "Milliseconds"},
                            {"Name": "pages_ok", "Unit": "Count"},
                        ],
                    }
                ],
            },
            "stage": "fetch",
            "source": "brave",
            "pages_ok": 3,
            "latency_ms": [7],
            "lag_s": [0.5],
        }
    ]


def test_a_stage_that_works_for_all_has_its_stage_alone():
    told = Told()
    told.metrics.add("tasks", 1)
    [line] = told.lines()
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["stage"]]
    assert "source" not in line


@pytest.mark.parametrize(
    ("name", "unit"), [("tasks", "Count"), ("commit_ms", "Milliseconds"), ("s", "Seconds")]
)
def test_a_name_says_its_unit(name: str, unit: str):
    told = Told()
    told.metrics.observe(name, 1)
    [line] = told.lines()
    assert line["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [{"Name": name, "Unit": unit}]


@pytest.mark.parametrize("count", [1, MOST_VALUES, MOST_VALUES + 1, 3 * MOST_VALUES])
def test_more_values_than_a_line_takes_are_several_lines(count: int):
    """CloudWatch drops a line with more than a hundred values; counts are told once."""
    told = Told()
    told.metrics.add("tasks", 5)
    for value in range(count):
        told.metrics.observe("latency_ms", value)
    told.metrics.observe("lag_s", 1)
    lines = told.lines()
    assert all(len(line["latency_ms"]) <= 100 for line in lines)
    assert [value for line in lines for value in line["latency_ms"]] == list(range(count))
    assert [line.get("tasks") for line in lines] == [5, *[None] * (len(lines) - 1)]
    assert sum("lag_s" in line for line in lines) == 1
    for line in lines:
        named = {one["Name"] for one in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
        assert named == set(line) - {"_aws", "stage"}


def test_nothing_is_told_of_nothing():
    told = Told()
    assert told.lines() == []
    told.metrics.of("brave")
    assert told.lines() == []


def test_a_zero_that_was_counted_is_told():
    """An alarm on a closed source needs its zeros."""
    told = Told()
    told.metrics.add("closed", 0.0)
    [line] = told.lines()
    assert line["closed"] == 0


def test_what_was_told_is_not_told_again():
    told = Told("x")
    told.metrics.add("tasks", 5)
    told.metrics.observe("latency_ms", 1)
    assert len(told.lines()) == 1
    assert told.lines() == []
    told.metrics.add("tasks", 2)
    [line] = told.lines()
    assert (line["tasks"], "latency_ms" in line) == (2, False)


def test_sources_are_told_apart_and_with_their_stage():
    """A stage that works for several tells each by itself, in one flush."""
    told = Told()
    told.metrics.add("tasks", 9)
    for source in ("a", "b", "a"):
        told.metrics.of(source).add("queue_depth", 1)
    lines = told.lines()
    assert {line.get("source"): line.get("queue_depth") for line in lines} == {"a": 2, "b": 1, None: None}
    assert [line["tasks"] for line in lines if "source" not in line] == [9]
    assert told.lines() == []


def test_threads_lose_no_count():
    told = Told()

    def count() -> None:
        for _ in range(2_000):
            told.metrics.add("tasks")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    flushed = sum(line["tasks"] for _ in range(20) for line in told.lines())
    for thread in threads:
        thread.join()
    assert flushed + sum(line["tasks"] for line in told.lines()) == 8_000
