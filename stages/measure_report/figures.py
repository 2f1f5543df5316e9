"""What readings add up to: the views' numbers, counted here so that a report needs no database."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from stages.measure import Kind, Reading

Z = 1.96
"""Standard deviations of a 95% interval."""


class Measured(msgspec.Struct, frozen=True):
    """One experiment's readings, in the order in which the probes began."""

    name: str
    kind: Kind
    rows: tuple[Reading, ...]


class Step(msgspec.Struct, frozen=True):
    """A probe of a lifetime beside the one before it of its copy; None where there is nothing to compare."""

    reading: Reading
    same_environment: bool | None = None
    same_address: bool | None = None
    rested_s: float | None = None


class Kept(msgspec.Struct, frozen=True):
    """How often something was still there after a pause, of how often it could be told."""

    pause_s: float
    same: int
    probes: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.same / self.probes

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the share: wide where the probes are few."""
        count, share = self.probes, self.share
        scale = 1 + Z * Z / count
        middle = share + Z * Z / (2 * count)
        spread = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
        return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """A level of a tree, as in view ``scaling``; delays in milliseconds."""

    level: int
    probes: int
    environments: int
    new: int
    most_at_once: int
    hosts: int
    addresses: int
    p50: float
    p90: float
    p99: float
    repeated: int
    errors: int


def measured(rows: Iterable[Reading]) -> tuple[Measured, ...]:
    """The readings by experiment, the oldest first."""
    by_name: dict[str, list[Reading]] = defaultdict(list)
    for row in rows:
        by_name[row.experiment].append(row)
    found = [Measured(name, some[0].kind, tuple(_in_order(some))) for name, some in by_name.items()]
    return tuple(sorted(found, key=lambda one: (one.rows[0].started_at, one.name)))


def steps(rows: Iterable[Reading]) -> tuple[Step, ...]:
    """Each probe beside the one before it of the same copy; those that failed prove nothing."""
    before: dict[str, Reading] = {}
    found = []
    for row in _in_order(rows):
        last = before.get(row.function)
        if row.error is not None:
            found.append(Step(row))
            continue
        before[row.function] = row
        if last is None:
            found.append(Step(row))
            continue
        known = row.address is not None and last.address is not None
        found.append(
            Step(
                row,
                row.environment == last.environment,
                row.address == last.address if known else None,
                row.started_at - last.finished_at,
            )
        )
    return tuple(found)


def kept(found: Iterable[Step], *, address: bool = False) -> tuple[Kept, ...]:
    """By pause, the shortest first: what was the same after it, the environment or the ``address``."""
    counts: dict[float, list[bool]] = defaultdict(list)
    for step in found:
        same = step.same_address if address else step.same_environment
        if same is not None and step.reading.pause_s is not None:
            counts[step.reading.pause_s].append(same)
    return tuple(Kept(pause, sum(told), len(told)) for pause, told in sorted(counts.items()))


def by_copy(found: Iterable[Step]) -> dict[str, tuple[Step, ...]]:
    """The steps of each function copy."""
    copies: dict[str, list[Step]] = defaultdict(list)
    for step in found:
        copies[step.reading.function].append(step)
    return {name: tuple(copies[name]) for name in sorted(copies)}


def levels(rows: Iterable[Reading]) -> tuple[Level, ...]:
    """The levels of a tree, the root first."""
    by_level: dict[int, list[Reading]] = defaultdict(list)
    for row in rows:
        by_level[row.level].append(row)
    return tuple(_level(number, some) for number, some in sorted(by_level.items()))


def at_once(rows: Iterable[Reading]) -> tuple[tuple[float, int], ...]:
    """How many ran from each moment on: a step a moment. What ends goes before what begins."""
    changes = sorted(change for row in rows for change in ((row.started_at, 1), (row.finished_at, -1)))
    running, found = 0, dict[float, int]()
    for moment, change in changes:
        running += change
        found[moment] = running
    return tuple(found.items())


def _level(number: int, rows: Sequence[Reading]) -> Level:
    delays = sorted(row.delay_ms for row in rows)
    return Level(
        level=number,
        probes=len(rows),
        environments=len({row.environment for row in rows}),
        new=len({row.environment for row in rows if row.cold}),
        most_at_once=most_at_once(rows),
        hosts=len({row.boot_id for row in rows} - {""}),
        addresses=len({row.address for row in rows} - {None}),
        p50=_nearest_rank(delays, 50),
        p90=_nearest_rank(delays, 90),
        p99=_nearest_rank(delays, 99),
        repeated=sum(row.receives > 1 for row in rows),
        errors=sum(row.error is not None for row in rows),
    )


def most_at_once(rows: Iterable[Reading]) -> int:
    """How many ran at once at most."""
    return max((count for _, count in at_once(rows)), default=0)


def _nearest_rank(ordered: Sequence[float], per_cent: int) -> float:
    # In whole numbers: 0.9 · 10 is not always 9.
    return ordered[-(-per_cent * len(ordered) // 100) - 1]


def _in_order(rows: Iterable[Reading]) -> list[Reading]:
    return sorted(rows, key=lambda row: (row.started_at, row.probe))
