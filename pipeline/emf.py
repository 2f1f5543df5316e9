"""Metrics of a function: counted while it works, told in its log in CloudWatch's embedded format.

One line a set of dimensions (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/
CloudWatch_Embedded_Metric_Format_Specification.html): CloudWatch makes metrics of it without a call.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import orjson

MOST_VALUES = 100
"""Values that one metric may have in one line."""

_UNITS = {"ms": "Milliseconds", "s": "Seconds"}


class EmfMetrics:
    """Counts and measurements of one stage, told by ``flush``; safe for threads."""

    def __init__(
        self,
        namespace: str,
        stage: str,
        source: str,
        tell: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        """``source`` is empty where the stage works for all; ``tell`` takes a line."""
        self._namespace = namespace
        self._stage = stage
        self._source = source
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, float] = defaultdict(float)
        self._values: dict[str, list[float]] = defaultdict(list)
        self._sources: dict[str, EmfMetrics] = {}

    def add(self, name: str, value: float = 1) -> None:
        """Count ``value`` more of this."""
        with self._lock:
            self._counts[name] += value

    def observe(self, name: str, value: float) -> None:
        """One more measurement of this, in the unit that its name ends with."""
        with self._lock:
            self._values[name].append(value)

    def of(self, source: str) -> EmfMetrics:
        """The metrics of one source, where a stage works for several; told with these."""
        with self._lock:
            if source not in self._sources:
                self._sources[source] = EmfMetrics(
                    self._namespace, self._stage, source, self._tell, self._clock
                )
            return self._sources[source]

    def flush(self) -> None:
        """Tell what was counted and measured since the last time, if anything was."""
        with self._lock:
            sources = list(self._sources.values())
            counts, values = self._counts, self._values
            self._counts, self._values = defaultdict(float), defaultdict(list)
        for one in sources:
            one.flush()
        said: dict[str, Any] = {**counts, **values}
        while said:
            line = {name: _first(value) for name, value in said.items()}
            self._tell(self._line(line))
            said = {
                name: value[MOST_VALUES:]
                for name, value in said.items()
                if isinstance(value, list) and len(value) > MOST_VALUES
            }

    def _line(self, said: dict[str, Any]) -> str:
        dimensions = {"stage": self._stage} | ({"source": self._source} if self._source else {})
        sets = [["stage"], ["stage", "source"]] if self._source else [["stage"]]
        metrics = [{"Name": name, "Unit": _unit(name)} for name in sorted(said)]
        cloudwatch = {"Namespace": self._namespace, "Dimensions": sets, "Metrics": metrics}
        return orjson.dumps(
            {
                "_aws": {"Timestamp": int(self._clock() * 1000), "CloudWatchMetrics": [cloudwatch]},
                **dimensions,
                **said,
            }
        ).decode()


def _first(value: Any) -> Any:
    return value[:MOST_VALUES] if isinstance(value, list) else value


def _unit(name: str) -> str:
    return _UNITS.get(name.rpartition("_")[2], "Count")
