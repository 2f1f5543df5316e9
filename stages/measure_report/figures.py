"""What readings add up to: the views' numbers, counted here so that a report needs no database."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from stages.measure import Kind, Reading
from stages.measure_views import LATE, LATE_S

Z = 1.96
"""Standard deviations of a 95% interval."""


class Measured(msgspec.Struct, frozen=True):
    """One experiment's readings, in the order in which the probes began."""

    name: str
    kind: Kind
    rows: tuple[Reading, ...]


Verdict = Literal["first", "kept", "new", "disturbed", "unpaired"]
"""What a probe of a lifetime proves of the pause before it; the last two prove nothing."""


class Step(msgspec.Struct, frozen=True):
    """A probe of a lifetime beside the one planned before it of its copy.

    ``same_environment`` and ``same_address`` are None where nothing is proven. ``rested_s`` is how long the
    environment knows that it rested, or else what passed since the probe before; None where neither is known.
    """

    reading: Reading
    verdict: Verdict
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
    """A level of a tree, as in view ``scaling``.

    Delays are in milliseconds, and those of first deliveries alone: a message that was delivered again had
    waited for its queue. They are None where there is none. ``repeated`` counts those that were left out.
    """

    level: int
    probes: int
    environments: int
    new: int
    most_at_once: int
    boots: int
    addresses: int
    p50: float | None
    p90: float | None
    p99: float | None
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
    """Each probe beside the one planned before it of the same copy, whether that one failed or not.

    Which environment answered is known of both. Where the one before never answered, two pauses lie between.
    """
    by_slot = {(row.function, row.slot): row for row in rows}
    ordered = sorted(by_slot.values(), key=lambda row: (row.started_at, row.probe))
    return tuple(_step(row, by_slot.get((row.function, row.slot - 1))) for row in ordered)


def _step(row: Reading, before: Reading | None) -> Step:
    if row.pause_s is None:
        return Step(row, "first")
    if before is None:
        return Step(row, "unpaired", rested_s=row.rest_s)
    same = row.environment == before.environment
    own = row.rest_s if same else None
    rested = own if own is not None else row.started_at - before.finished_at
    if _was_disturbed(row, before, row.pause_s, rested):
        return Step(row, "disturbed", rested_s=rested)
    known = row.address is not None and before.address is not None
    return Step(
        row, "kept" if same else "new", same, row.address == before.address if known else None, rested
    )


def _was_disturbed(row: Reading, before: Reading, pause_s: float, rested_s: float) -> bool:
    """Whether the copy did something else in the pause, or the pause was another one than planned.

    An environment counts its invocations: one that was not ours is missing in between.
    """
    same = row.environment == before.environment
    return (
        row.invocation != (before.invocation + 1 if same else 1)
        or max(row.fired, before.fired) > 1
        or rested_s < 0
        or abs(rested_s - pause_s) > max(LATE_S, LATE * pause_s)
    )


def kept(found: Iterable[Step], *, address: bool = False) -> tuple[Kept, ...]:
    """By pause, the shortest first: what was the same after it, the environment or the ``address``."""
    counts: dict[float, list[bool]] = defaultdict(list)
    for step in found:
        same = step.same_address if address else step.same_environment
        if same is not None and step.reading.pause_s is not None:
            counts[step.reading.pause_s].append(same)
    return tuple(Kept(pause, sum(told), len(told)) for pause, told in sorted(counts.items()))


def unproven(found: Iterable[Step]) -> dict[float, tuple[int, int]]:
    """By pause: how many probes prove nothing, as it was disturbed, or as the probe before is missing."""
    counts: dict[float, list[int]] = defaultdict(lambda: [0, 0])
    for step in found:
        if step.reading.pause_s is not None and step.verdict in ("disturbed", "unpaired"):
            counts[step.reading.pause_s][step.verdict == "unpaired"] += 1
    return {pause: (disturbed, unpaired) for pause, (disturbed, unpaired) in sorted(counts.items())}


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
    delays = sorted(row.delay_ms for row in first_deliveries(rows))
    return Level(
        level=number,
        probes=len(rows),
        environments=len({row.environment for row in rows}),
        new=len({row.environment for row in rows if row.cold}),
        most_at_once=most_at_once(rows),
        boots=len({row.boot_id for row in rows} - {""}),
        addresses=len({row.address for row in rows} - {None}),
        p50=_nearest_rank(delays, 50),
        p90=_nearest_rank(delays, 90),
        p99=_nearest_rank(delays, 99),
        repeated=sum(row.receives > 1 for row in rows),
        errors=sum(row.error is not None for row in rows),
    )


def first_deliveries(rows: Iterable[Reading]) -> list[Reading]:
    """Those whose message came once."""
    return [row for row in rows if row.receives == 1]


def most_at_once(rows: Iterable[Reading]) -> int:
    """How many ran at once at most."""
    return max((count for _, count in at_once(rows)), default=0)


def _nearest_rank(ordered: Sequence[float], per_cent: int) -> float | None:
    if not ordered:
        return None
    # In whole numbers: 0.9 · 10 is not always 9.
    return ordered[-(-per_cent * len(ordered) // 100) - 1]


def _in_order(rows: Iterable[Reading]) -> list[Reading]:
    return sorted(rows, key=lambda row: (row.started_at, row.probe))
