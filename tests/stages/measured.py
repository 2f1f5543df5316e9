"""Readings made by hand, and a lake that holds them."""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline.iceberg import open_folder_catalog, open_table
from stages.measure import Reading
from stages.measurements import measurement_table
from stages.tables import MEASUREMENTS
from tests.pipeline.query import lakes

START = 1_800_000_000.0
"""2027-01-15 08:00:00 UTC."""


def reading(at: float = 0.0, *, held: float = 1.0, **fields: Any) -> Reading:
    """A probe that began so many seconds after the start and took a second."""
    slot = fields.get("slot", 0)
    given: dict[str, Any] = {
        "experiment": "lifetime-1",
        "kind": "lifetime",
        "probe": f"{fields.get('experiment', 'lifetime-1')}/{fields.get('level', 0)}/{slot}",
        "function": "serpline-probe",
        "memory_mb": 512,
        "architecture": "arm64",
        "scheduled_at": START + at - 0.05,
        "started_at": START + at,
        "finished_at": START + at + held,
        "delay_ms": 50.0,
        "cold": False,
        "environment": "env-a",
        "invocation": 1,
        "boot_id": "host-a",
    }
    return Reading(**{**given, **fields})


def write(folder: Path, rows: Sequence[Reading]) -> Path:
    """A lake whose table ``measurements`` has these rows."""
    lakes.write(folder, [])
    with closing(open_folder_catalog(folder)) as catalog:
        open_table(catalog, MEASUREMENTS).append(measurement_table(rows))
    return folder


LIFETIME = (
    # Copy one: asked at 0, after 5 minutes (kept), after 10 (another environment), after 5 more (kept).
    reading(0, slot=0, address="198.51.100.1", cold=True),
    reading(301, slot=1, pause_s=300.0, address="198.51.100.1", invocation=2),
    reading(902, slot=2, pause_s=600.0, environment="env-b", address="198.51.100.1", cold=True),
    reading(1203, slot=3, pause_s=300.0, environment="env-b", address="198.51.100.2", invocation=2),
    # One that failed: in which environment it did is known all the same.
    reading(
        1504, slot=4, pause_s=300.0, environment="env-x", cold=True, error="the machine could not be read"
    ),
    # Somebody else's invocation came in between, and the next never answered.
    reading(1805, slot=5, pause_s=300.0, rest_s=200.0, environment="env-x", invocation=3),
    reading(3006, slot=7, pause_s=600.0, rest_s=1200.0, environment="env-x", invocation=4),
    # Copy two rests meanwhile; nobody told its address the second time.
    reading(10, slot=20, function="serpline-probe-1", environment="env-c", address="198.51.100.9", cold=True),
    reading(611, slot=21, function="serpline-probe-1", pause_s=600.0, environment="env-c", invocation=2),
)


def tree(at: float, slot: int, **fields: Any) -> Reading:
    """A probe of level 1 of a tree, which began so many seconds after the start."""
    return reading(at, slot=slot, experiment="scaling-1", kind="scaling", **{"level": 1, **fields})


SCALING = (
    tree(0, 0, level=0, environment="env-a", cold=True, delay_ms=400.0, address="198.51.100.1"),
    # Three within one another, and a fourth in an environment that was used before, when one has just ended.
    tree(2, 0, held=4.0, environment="env-b", cold=True, delay_ms=900.0, address="198.51.100.1"),
    tree(3, 1, held=4.0, environment="env-c", cold=True, delay_ms=200.0, boot_id="host-b"),
    tree(4, 2, held=2.0, environment="env-a", delay_ms=100.0, address="198.51.100.2", receives=3),
    tree(6, 3, held=3.0, environment="env-b", delay_ms=300.0, boot_id="", error="no disk"),
)

PAUSES = (60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)


def long_lifetime(
    experiment: str,
    *,
    pauses: Sequence[float] = tuple(pause for pause in PAUSES for _ in range(4)),
    copies: int = 2,
    lives: float = 1200.0,
    at: float = 0.0,
    address: str = "198.51.100.{}",
) -> list[Reading]:
    """Hours of probes of several copies; an environment lives about so many seconds of rest."""
    chance = random.Random(experiment)
    rows = []
    for copy in range(copies):
        name = "serpline-probe" if copy == 0 else f"serpline-probe-{copy}"
        now, environment, number = at + min(pauses) / copies * copy, 0, 0
        for place, pause in enumerate([None, *pauses]):
            now += pause if pause is not None else 0.0
            new = pause is None or chance.random() < pause / lives / 2
            environment, number = (environment + 1, 1) if new else (environment, number + 1)
            slot = copy * (len(pauses) + 1) + place
            rows.append(
                reading(
                    now,
                    held=0.8,
                    experiment=experiment,
                    slot=slot,
                    function=name,
                    pause_s=pause,
                    rest_s=None if new else pause,
                    cold=new,
                    environment=f"{chance.randrange(16**8):08x}04d1e2f7" if new else rows[-1].environment,
                    invocation=number,
                    address=address.format((environment + 20 * copy) % 250),
                    probe=f"{experiment}-0-{slot}",
                )
            )
            now += 0.8
    return rows


def whole_tree(
    experiment: str,
    *,
    levels: int = 3,
    width: int = 40,
    hold: float = 5.0,
    slower: float = 1.0,
    again: float = 0.0,
    at: float = 0.0,
) -> list[Reading]:
    """A tree: each probe sends what is below it as it begins and holds, so that levels overlap.

    An environment that is free is taken before a new one is made. ``again`` is the share of messages whose
    first delivery was throttled; the next comes twelve minutes later.
    """
    chance = random.Random(experiment)
    free_from: dict[str, float] = {}
    sent = [(0.0, 0, 0)]
    rows: list[Reading] = []
    while sent:
        due, level, slot = heapq.heappop(sent)
        repeated = chance.random() < again
        due_again = due + 720.0 * repeated
        free = [name for name, moment in free_from.items() if moment <= due_again]
        environment = chance.choice(free) if free else f"{chance.randrange(16**8):08x}04d1e2f7"
        began = due_again + slower * max(0.02, chance.gauss(0.08, 0.015) if free else chance.gauss(0.9, 0.18))
        seen = sum(row.environment == environment for row in rows)
        free_from[environment] = began + hold
        rows.append(
            reading(
                at + began,
                held=hold,
                experiment=experiment,
                kind="scaling",
                level=level,
                slot=slot,
                probe=f"{experiment}-{level}-{slot}",
                scheduled_at=START + at + due,
                delay_ms=(began - due) * 1000,
                cold=not free,
                invocation=seen + 1,
                environment=environment,
                boot_id=f"boot-of-{environment}",
                address=f"198.51.100.{chance.randrange(12)}",
                receives=1 + repeated,
            )
        )
        if level < levels:
            below = range(width) if level == 0 else (slot,)
            for one in below:
                heapq.heappush(sent, (began, level + 1, one))
    return sorted(rows, key=lambda row: (row.level, row.slot))


def machines(
    experiment: str, *, kernel: str = "5.10.240-238.955.amzn2.aarch64", at: float = 0.0
) -> list[Reading]:
    """A probe of each of three sizes of memory, with the further readings that a probe has."""
    return [
        reading(
            at + 3.0 * slot,
            experiment=experiment,
            kind="environment",
            slot=slot,
            probe=f"{experiment}/0/{slot}",
            memory_mb=size,
            cold=True,
            environment=f"{slot}b6f3a9c2d11",
            boot_id=f"8a1c{slot}f0e-77d2-4a0b-9a5e-2f2f0b7e51aa",
            init_ms=412.0 - 90 * slot,
            idle_ms=12.0 if slot == 0 else None,
            delay_ms=640.0 - 100 * slot,
            address=f"198.51.100.{slot}",
            os_release="Amazon Linux 2023",
            kernel=kernel,
            cpu_model="ARM implementer 0x41 part 0xd0c",
            cpu_count=2,
            readings=json.dumps(
                {
                    "uptime_s": 61.2,
                    "memory_kb": {"MemTotal": size * 1024 - 9000, "MemAvailable": size * 900},
                    "memory_limit_bytes": size << 20,
                    "disks": [
                        {
                            "path": "/",
                            "type": "overlay",
                            "writable": False,
                            "bytes": 1 << 30,
                            "free_bytes": 1 << 28,
                        },
                        {
                            "path": "/tmp",  # noqa: S108  # what a function has
                            "type": "ext4",
                            "writable": True,
                            "bytes": 1 << 29,
                            "free_bytes": 1 << 29,
                        },
                    ],
                    "processes": [
                        {"id": 1, "name": "rapid", "parent": 0},
                        {"id": 9, "name": "python3.13", "parent": 1},
                    ],
                    "limits": {"RLIMIT_NOFILE": 1024, "RLIMIT_NPROC": 1024},
                    "user": {"id": 993, "group": 990, "name": "sbx_user1051"},
                    "python": {
                        "version": "3.13.7",
                        "executable": "/var/lang/bin/python3.13",
                        "path": ["/var/task", "/opt/python", "/var/lang/lib/python3.13"],
                        "folder": "/var/task",
                    },
                }
            ),
        )
        for slot, size in enumerate((128, 512, 1769))
    ]
