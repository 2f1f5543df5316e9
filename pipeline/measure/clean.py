"""Clean: what experiments left behind is taken away. What their probes saw goes into the table first."""

from __future__ import annotations

import msgspec

from pipeline import keys
from pipeline.measure.environment import restore
from pipeline.measure.experiments import (
    MeasurementTable,
    Stand,
    experiment_names,
    find_experiment,
    read_experiment,
    read_objects,
)
from pipeline.queues.protocol import Queue
from stages.measure import Experiment

AT_ONCE = 10
WAIT = 1.0
"""Seconds of waiting for one more message before a queue counts as empty."""


class Cleaned(msgspec.Struct, frozen=True):
    """What was done: rows committed, schedules, messages and objects removed, functions resized.

    ``running`` are messages that probes have in hand at this moment.
    """

    rows: int = 0
    schedules: int = 0
    messages: int = 0
    objects: int = 0
    resized: int = 0
    running: int = 0


def left_behind(stand: Stand, name: str = "") -> tuple[list[Experiment], list[str]]:
    """The experiments that would be cleaned away, and the schedules that have not fired.

    ``name`` is one experiment; "" is all of them, with schedules and messages of no experiment at all.
    Raises ``Misuse`` for a name of none.
    """
    if name:
        found = [find_experiment(stand.storage, name)]
        return found, list(stand.schedules.names(found[0].experiment))
    found = [read_experiment(stand.storage, one) for one in experiment_names(stand.storage)]
    return found, list(stand.schedules.names())


def clean(stand: Stand, table: MeasurementTable, name: str = "") -> Cleaned:
    """Take them away. Run again it goes on where it ended.

    Schedules go first, so that nothing new begins; objects go last, when their rows are in the table.
    """
    experiments, schedules = left_behind(stand, name)
    for schedule in schedules:
        stand.schedules.remove(schedule)
    # A message does not say whose it is until it is read; one experiment's name leaves the queue alone.
    messages = 0 if name else _emptied(stand.queue) + _emptied(stand.queue.dead())
    resized = sum(len(restore(stand, one)) for one in experiments)
    # Also what a probe wrote after its experiment was cleaned away: each object says whose it is.
    found = list(
        stand.storage.keys(keys.measurements(experiments[0].experiment) if name else keys.MEASUREMENTS)
    )
    seen = read_objects(stand.storage, [key for key in found if not _is_description(key)])
    rows = table.append_readings(seen) if seen else 0
    # Only what was there to be saved. A description finds its probes, so it goes after them.
    for key in sorted(found, key=_is_description):
        stand.storage.delete(key)
    return Cleaned(rows, len(schedules), messages, len(found), resized, stand.queue.depth().in_flight)


def _is_description(key: str) -> bool:
    return key == keys.experiment(key.removeprefix(keys.MEASUREMENTS).partition("/")[0])


def _emptied(queue: Queue) -> int:
    count = 0
    while received := queue.receive(AT_ONCE, wait=WAIT):
        for one in received:
            queue.ack(one)
        count += len(received)
    return count
