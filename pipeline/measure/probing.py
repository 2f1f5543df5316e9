"""One probe: what it saw of its environment, written down once, whoever repeats it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from pipeline import keys
from pipeline.errors import Misuse
from pipeline.measure.machine import Machine
from pipeline.storage.protocol import Storage
from stages.measure import Order, Reading, encode_reading
from stages.measure_plan import children


class Environment:
    """What an environment of a function knows of itself: made once with it, and gone with it.

    ``made_at`` is when it was made, in seconds of whatever clock the caller has, and ``init_s`` how long its
    process had lived then, where the kernel says it.
    """

    def __init__(self, made_at: float, init_s: float | None = None) -> None:
        self.id = secrets.token_hex(8)
        self.made_at = made_at
        self.init_s = init_s
        self.invocations = 0
        self.rested_since: float | None = None

    def begin(self, now: float) -> float | None:
        """One invocation more; gives the seconds since the one before ended, None in the first."""
        self.invocations += 1
        return None if self.rested_since is None else max(0.0, now - self.rested_since)

    def end(self, now: float) -> None:
        """The invocation is over."""
        self.rested_since = now


class Function(msgspec.Struct, frozen=True):
    """The function that runs, as Lambda tells it."""

    name: str
    memory_mb: int


class Outgoing(Protocol):
    """Where a probe's children go."""

    def send(self, bodies: Sequence[bytes]) -> None:
        """Store them all, or raise."""


class Hands(msgspec.Struct, frozen=True):
    """What a probe works with: a clock and a sleep in seconds, and what it reads, asks, sends and writes.

    ``ask`` gives the address that an echo URL tells, or why there is none.
    """

    clock: Callable[[], float]
    sleep: Callable[[float], None]
    read: Callable[[], Machine]
    ask: Callable[[Order], tuple[str | None, str | None]]
    queue: Outgoing
    storage: Storage


def probe(
    order: Order,
    environment: Environment,
    function: Function,
    hands: Hands,
    *,
    started: float,
    sent_at: float | None = None,
    receives: int = 1,
) -> Reading:
    """Do as ordered, and write down what was seen; of a probe that did so before, only that it ran again.

    Its children are sent first, so that the tree grows while it holds. ``started`` is when the invocation
    began. Raises what queue and storage raise: then nothing was written down, and a repeat is the same probe.
    """
    rested = environment.begin(started)
    try:
        _send_below(order, started, hands)
        address, echo_error = _asked(order, hands)
        machine, error = _read(hands)
        hands.sleep(max(0.0, started + order.hold_s - hands.clock()))
        scheduled = sent_at if sent_at is not None else order.scheduled_at
        first = environment.invocations == 1
        reading = Reading(
            experiment=order.experiment,
            kind=order.kind,
            probe=order.probe,
            function=function.name,
            memory_mb=function.memory_mb,
            architecture=machine.architecture,
            level=order.level,
            slot=order.slot,
            pause_s=order.pause_s,
            rest_s=rested,
            scheduled_at=scheduled,
            started_at=started,
            finished_at=hands.clock(),
            # Two clocks are never quite the same.
            delay_ms=max(0.0, (started - scheduled) * 1000),
            init_ms=environment.init_s * 1000 if first and environment.init_s is not None else None,
            idle_ms=max(0.0, started - environment.made_at) * 1000 if first else None,
            cold=first,
            environment=environment.id,
            invocation=environment.invocations,
            boot_id=machine.boot_id,
            address=address,
            echo_error=echo_error,
            os_release=machine.os_release,
            kernel=machine.kernel,
            cpu_model=machine.cpu_model,
            cpu_count=machine.cpu_count,
            readings=msgspec.json.encode(machine.more).decode(),
            error=error,
            receives=receives,
        )
        return _written(reading, hands.storage)
    finally:
        environment.end(hands.clock())


def _send_below(order: Order, now: float, hands: Hands) -> None:
    """Send a probe's children, once whoever repeats it, and none when the tree should have ended.

    The claim comes first: a probe that cannot write anything down must not send its children each time that
    its message comes again, and they theirs. A claim whose children were not sent leaves them missing.
    """
    below, claim = children(order), keys.sent(order.experiment, order.probe)
    if below and now <= order.until and hands.storage.put_new(claim, b"{}"):
        hands.queue.send([_body(child, hands.clock()) for child in below])


def _written(reading: Reading, storage: Storage) -> Reading:
    """Write it down; where its probe was there already, that it ran again, and then the reading says so."""
    body = encode_reading(reading)
    if storage.put_new(keys.reading(reading.experiment, reading.probe), body):
        return reading
    by = f"{reading.environment}-{reading.invocation}"
    storage.put_new(keys.repeat(reading.experiment, reading.probe, by), body)
    return msgspec.structs.replace(reading, fired=2)


UNREAD = Machine("", "", "", "", "", 0, {})


def _read(hands: Hands) -> tuple[Machine, str | None]:
    try:
        return hands.read(), None
    # Whatever machine this is: when the probe ran, and in which environment, is known all the same.
    except Exception as error:  # noqa: BLE001
        return UNREAD, f"the machine could not be read: {type(error).__name__}: {error}"


def _asked(order: Order, hands: Hands) -> tuple[str | None, str | None]:
    if not order.echo:
        return None, None
    try:
        return hands.ask(order)
    # Somebody else's URL ends no probe.
    except Exception as error:  # noqa: BLE001
        return None, f"the echo URL could not be asked: {type(error).__name__}: {error}"


def read_order(event: object) -> Order:
    """The order in an event. Raises ``Misuse`` for anything else, whatever it asks for."""
    try:
        return msgspec.convert(event, Order)
    except msgspec.ValidationError as error:
        raise Misuse(
            f"a probe takes an order of an experiment and nothing else ({error}): "
            "`serpline measure` sends them"
        ) from error


def _body(order: Order, now: float) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(order, scheduled_at=now))
