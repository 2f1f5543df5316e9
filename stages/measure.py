"""Measurements: what one probe saw, what it was told, and the experiment that was written down before."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

Kind = Literal["environment", "lifetime", "scaling"]


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What one probe saw: one row of table ``measurements``.

    Times are epoch seconds in UTC. ``probe`` is unique in all experiments and derived from where the probe
    stands in its own. ``level`` and ``slot`` are its place in the tree; elsewhere the level is 0 and the slot
    counts. ``pause_s`` is how long the plan let this function rest before it, ``rest_s`` how long the
    environment itself knows that it rested; both are None for a first one. ``delay_ms`` is from when it was
    sent or due until it began. ``init_ms`` is from the start of the process until it could be invoked, and
    None in later ones; ``idle_ms`` is from there until the first invocation: Lambda may initialise long
    before it. ``receives`` counts the deliveries of its message. ``boot_id`` tells kernels apart (each
    environment of Lambda is a small machine with one of its own), ``environment`` environments. ``readings``
    is JSON: everything else that was read.

    The rest is known to whoever puts the rows into the table, from the experiment, and None in rows of an
    older serpline: ``planned`` is how many probes it has, ``tree`` is as in ``4x100``, ``hold_s`` how long
    each holds, ``account_limit`` what the account allowed at once. ``fired`` is how often this probe had
    been told to run when its row went into the table: the first answer is the row.
    """

    experiment: str
    kind: Kind
    probe: str
    function: str
    memory_mb: int
    architecture: str
    level: int = 0
    slot: int = 0
    pause_s: float | None = None
    rest_s: float | None = None
    scheduled_at: float
    started_at: float
    finished_at: float
    delay_ms: float
    init_ms: float | None = None
    cold: bool
    environment: str
    invocation: int
    boot_id: str = ""
    address: str | None = None
    echo_error: str | None = None
    os_release: str = ""
    kernel: str = ""
    cpu_model: str = ""
    cpu_count: int = 0
    readings: str = "{}"
    error: str | None = None
    receives: int = 1
    planned: int | None = None
    tree: str | None = None
    hold_s: float | None = None
    account_limit: int | None = None
    idle_ms: float | None = None
    fired: int = 1


TIMES = ("scheduled_at", "started_at", "finished_at")
"""The fields that are moments."""


def encode_reading(reading: Reading) -> bytes:
    """The staged object of a reading."""
    return msgspec.json.encode(reading)


def decode_reading(body: bytes) -> Reading:
    """The reading in a staged object. Raises ``msgspec.DecodeError``."""
    return msgspec.json.decode(body, type=Reading)


NAME = r"^(environment|lifetime|scaling)-\d{8}T\d{6}Z-[0-9a-f]{4,12}$"
"""What an experiment is called: its kind, when it was begun, and some letters of chance."""

LONGEST_HOLD = 60.0
"""Seconds for which a probe may hold its environment: half of what its function has."""

MOST_AT_ONCE = 500
"""Probes of a tree that the queue's mapping lets run at once, as it is deployed."""

MOST_LEVELS = 16

LONGEST_LEAD = 60.0
"""Seconds from writing an experiment down to its first probe: what a schedule of AWS may be late."""

MOST_SCHEDULES = 1_000

LONGEST_LIFETIME = 7 * 86_400.0
"""Seconds that the pauses of a lifetime may be together."""

PATIENCE = 240.0
"""Seconds after a probe should have ended in which it is late, not missing: its schedule may be a minute late
and tries for a minute more, then Lambda keeps it for a minute at most, and it has its own work to do."""


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one probe is told. It says where it stands and what to hold and ask, and nothing to run.

    ``scheduled_at`` is when it is due, or was sent. ``levels`` and ``width`` are those of the tree, and 0
    where there is none; after ``until`` it grows no more. ``echo`` is the URL that tells the caller's
    address, empty where none is asked.
    """

    experiment: Annotated[str, msgspec.Meta(pattern=NAME)]
    scheduled_at: float
    level: Annotated[int, msgspec.Meta(ge=0, le=MOST_LEVELS)] = 0
    slot: Annotated[int, msgspec.Meta(ge=0, le=MOST_SCHEDULES)] = 0
    pause_s: float | None = None
    hold_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_HOLD)] = 0.0
    echo: Annotated[str, msgspec.Meta(max_length=2_000)] = ""
    contact: Annotated[str, msgspec.Meta(max_length=200)] = ""
    levels: Annotated[int, msgspec.Meta(ge=0, le=MOST_LEVELS)] = 0
    width: Annotated[int, msgspec.Meta(ge=0, le=MOST_AT_ONCE)] = 0
    until: float = 0.0

    @property
    def kind(self) -> Kind:
        """The experiment's kind."""
        return kind_of(self.experiment)

    @property
    def probe(self) -> str:
        """What the probe is called: derived from where it stands, so that a repeat is the same one."""
        return f"{self.experiment}-{self.level}-{self.slot}"


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """What is written down before the first probe is sent; nothing of it changes later.

    ``functions`` are the copies of the probe. ``pauses`` (seconds) are those of lifetime, ``memories`` (MB)
    those of environment, empty for what is deployed; ``memory_before`` is what each copy had then. ``limit``
    is how many invocations at once the account allowed.
    """

    experiment: Annotated[str, msgspec.Meta(pattern=NAME)]
    created_at: float
    by: str = ""
    functions: tuple[str, ...]
    pauses: tuple[float, ...] = ()
    memories: tuple[int, ...] = ()
    memory_before: dict[str, int] = {}
    levels: int = 0
    width: int = 0
    hold_s: float = 0.0
    limit: int = 0
    echo: str = ""
    contact: str = ""

    @property
    def kind(self) -> Kind:
        """What it measures."""
        return kind_of(self.experiment)


def kind_of(experiment: str) -> Kind:
    """The kind of an experiment, which its name begins with."""
    kind = experiment.partition("-")[0]
    for known in KINDS:
        if kind == known:
            return known
    raise ValueError(f"{experiment} is no experiment")


KINDS: tuple[Kind, ...] = ("environment", "lifetime", "scaling")


def decode_order(body: bytes) -> Order:
    """The order in a message. Raises ``msgspec.DecodeError`` for whatever else is in it."""
    return msgspec.json.decode(body, type=Order)


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(text: str) -> float:
    """``5m``, ``90s``, ``1.5h`` in seconds. Raises ``ValueError``."""
    unit = _UNITS.get(text[-1:])
    if unit is None or not re.fullmatch(r"\d+(\.\d+)?", text[:-1], re.ASCII):
        raise ValueError(f"{text!r} is no time: write 90s, 5m or 1.5h")
    return float(text[:-1]) * unit


def tree_of(text: str) -> tuple[int, int]:
    """``4x100`` as levels and width. Raises ``ValueError``."""
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text, re.ASCII)
    if found is None:
        raise ValueError(f"{text!r} is no tree: write LEVELSxWIDTH, as in 4x100")
    return int(found[1]), int(found[2])
