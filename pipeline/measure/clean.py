"""Clean: what experiments left behind is taken away. What their probes saw goes into the table first."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from pipeline import keys
from pipeline.errors import Unreadable
from pipeline.measure.environment import restore
from pipeline.measure.experiments import (
    MeasurementTable,
    Stand,
    experiment_names,
    pick,
    read_experiment,
    read_objects,
    repeats,
)
from pipeline.queues.protocol import Queue
from stages.measure import Experiment, Reading, kind_of
from stages.measure_plan import enriched

AT_ONCE = 10
WAIT = 1.0
"""Seconds of waiting for one more message before a queue counts as empty."""


class Left(msgspec.Struct, frozen=True):
    """What would be cleaned away: experiments, schedules that have not fired, messages of the queue."""

    names: list[str]
    schedules: list[str]
    messages: int


class Cleaned(msgspec.Struct, frozen=True):
    """What was done: rows committed, schedules, messages and objects removed, functions resized.

    ``running`` are messages that probes have in hand at this moment; ``unread`` the descriptions that could
    not be read, so that nobody knows whether functions have their own memory.
    """

    rows: int = 0
    schedules: int = 0
    messages: int = 0
    objects: int = 0
    resized: int = 0
    running: int = 0
    unread: tuple[str, ...] = ()


def left_behind(stand: Stand, name: str = "") -> Left:
    """What there is to clean away of the experiment ``name``, or with "" of all and of none.

    Messages do not say whose they are until they are received: all are counted, unless none can be meant.
    Raises ``Misuse`` for a name of no experiment.
    """
    names = experiment_names(stand.storage)
    names = [pick(names, name)] if name else names
    schedules = list(stand.schedules.names(names[0] if name else ""))
    depth = stand.queue.depth()
    messages = depth.waiting + depth.in_flight if _has_messages(names[0] if name else "") else 0
    return Left(names, schedules, messages)


def _has_messages(only: str) -> bool:
    """Whether messages are to be looked through: all, or those of one tree."""
    return not only or kind_of(only) == "scaling"


def clean(stand: Stand, table: MeasurementTable, name: str = "") -> Cleaned:
    """Take them away. Run again it goes on where it ended.

    Schedules go first, so that nothing new begins; objects go last, when their rows are in the table.
    """
    left = left_behind(stand, name)
    for schedule in left.schedules:
        stand.schedules.remove(schedule)
    only = left.names[0] if name else ""
    messages = 0
    if _has_messages(only):
        messages = _emptied(stand.queue, only) + _emptied(stand.queue.dead(), only)
    experiments, unread = _described(stand, left.names)
    # The newest first: what the oldest of them found is what a function had before all.
    newest = sorted(experiments.values(), key=lambda one: one.created_at, reverse=True)
    resized = {copy.function for one in newest for copy in restore(stand, one)}
    # Also what a probe wrote after its experiment was cleaned away: each object says whose it is.
    found = list(stand.storage.keys(keys.measurements(only) if name else keys.MEASUREMENTS))
    rows = _saved(stand, table, experiments, [key for key in found if keys.is_reading(key)])
    # Only what was there to be saved. A description finds its probes, so it goes after them.
    for key in sorted(found, key=keys.is_experiment):
        stand.storage.delete(key)
    running = stand.queue.depth().in_flight
    return Cleaned(rows, len(left.schedules), messages, len(found), len(resized), running, unread)


def _described(stand: Stand, names: list[str]) -> tuple[dict[str, Experiment], tuple[str, ...]]:
    """The descriptions by name, and the names of those that cannot be read."""
    found, unread = {}, []
    for name in names:
        try:
            found[name] = read_experiment(stand.storage, name)
        except Unreadable:
            unread.append(name)
    return found, tuple(unread)


def _saved(
    stand: Stand, table: MeasurementTable, experiments: dict[str, Experiment], found: list[str]
) -> int:
    """Commit these readings, each with what its experiment says where that is known; gives how many."""
    by_name = defaultdict[str, list[Reading]](list)
    for row in read_objects(stand.storage, found):
        by_name[row.experiment].append(row)
    rows = [
        row
        for name, some in by_name.items()
        for row in (
            enriched(some, experiments[name], repeats(stand.storage, name)) if name in experiments else some
        )
    ]
    return table.append_readings(rows) if rows else 0


def _emptied(queue: Queue, only: str) -> int:
    """Remove the messages of one experiment, or with "" all of them; gives how many."""
    count, others = 0, []
    while received := queue.receive(AT_ONCE, wait=WAIT):
        for one in received:
            if only and only.encode() not in one.body:
                others.append(one)
                continue
            queue.ack(one)
            count += 1
    for one in others:
        queue.release(one)
    return count
