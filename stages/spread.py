"""Spread: when each batch of a run is due, so that the run lasts about as long as it was told to.

A batch's moment is fixed by the frozen run and by how much of its part comes before it: nothing is stored
or coordinated, every repetition finds the same moment, and nothing of it is left when the run is over. From
its moment on a batch is asked like any other, at the source's own pace.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from stages.records import Batch
from stages.run import Run

LEAST, MOST = 1.0, 30 * 86_400.0
"""Seconds: a run is finished before what it staged is removed."""

A_BATCH = 60.0
"""Seconds of the run that one batch stands for at most, and a twentieth of the whole."""

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_SPREAD = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])")


def spread_seconds(text: str) -> float | None:
    """The seconds of ``90s``, ``45m``, ``6h``, ``1.5d``; None for what is none, or beyond the bounds."""
    match = _SPREAD.fullmatch(text.strip())
    if match is None:
        return None
    seconds = float(match[1]) * _SECONDS[match[2]]
    return seconds if LEAST <= seconds <= MOST else None


def spread_batch(tasks: int, spread: float) -> int:
    """Tasks of a batch of a run of about so many tasks."""
    return max(1, int(tasks / spread * min(A_BATCH, spread / 20)))


def count_tasks(events: Iterable[object]) -> Counter[str]:
    """The tasks of a part by source, from what sharding it gives."""
    found: Counter[str] = Counter()
    for event in events:
        if isinstance(event, Batch):
            found[event.source] += len(event.tasks)
    return found


class Moments:
    """Says of the batches of one part, given in their order, when each is due."""

    def __init__(self, run: Run, part: int, tasks: Mapping[str, int]) -> None:
        """``tasks`` of the part by source, see ``count_tasks``."""
        self._run = run
        self._part = part
        self._tasks = tasks
        self._before: Counter[str] = Counter()

    def timed(self, batch: Batch) -> Batch:
        """The batch with its moment: what share of the spread passes before it, by its source's tasks."""
        # Parts take turns: batches that are equally far along would be due all at once.
        ahead = self._before[batch.source] + len(batch.tasks) * self._part / self._run.parts
        self._before[batch.source] += len(batch.tasks)
        share = ahead / max(self._tasks[batch.source], 1)
        return msgspec.structs.replace(batch, not_before=self._run.created_at + self._run.spread * share)
