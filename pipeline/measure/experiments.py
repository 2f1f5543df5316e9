"""Experiments: written down before they begin, looked at while they run, their rows committed once."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from pipeline import keys
from pipeline.errors import Misuse, Permanent, Unreadable
from pipeline.queues.protocol import Queue
from pipeline.storage.protocol import Storage
from stages.measure import Experiment, Kind, Reading, decode_reading
from stages.measure_plan import ends_by, enriched, orders

if TYPE_CHECKING:
    from pipeline.measure.probes import Probes
    from pipeline.measure.schedules import Schedules
    from pipeline.measure.throttles import MetricsClient

READERS = 16
"""Objects that are read at once."""


class MeasurementTable(Protocol):
    """Where rows end up."""

    def append_readings(self, readings: Sequence[Reading]) -> int:
        """Commit each once; gives how many were new."""


class Stand(msgspec.Struct, frozen=True):
    """What experiments are made with: the lake, the functions, their schedules, queue and metrics, a clock.

    ``by`` is who measures, ``contact`` where an echo's operators reach them.
    """

    name: str
    storage: Storage
    probes: Probes
    schedules: Schedules
    queue: Queue
    metrics: MetricsClient
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    by: str = ""
    contact: str = ""


class Progress(msgspec.Struct, frozen=True):
    """How far an experiment is.

    ``missing`` are probes that should have ended and did not. ``next_at`` is when the next one is due (epoch
    seconds), None where none is to come. ``again`` are those that were told to run again.
    """

    planned: int
    done: int
    missing: tuple[str, ...]
    next_at: float | None
    again: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether nothing more is to be expected."""
        return self.done + len(self.missing) >= self.planned


def refuse(_what: str) -> bool:
    """The answer of somebody who was not asked."""
    return False


def check_quiet(stand: Stand, confirm: Callable[[str], bool]) -> None:
    """Ask before an experiment that others would disturb, or it them. Raises ``Misuse`` after a no."""
    schedules = sum(1 for _ in stand.schedules.names())
    depth = stand.queue.depth()
    messages = depth.waiting + depth.in_flight
    if not schedules and not messages:
        return
    busy = f"probes of another experiment are to come: {schedules:,} by schedule, {messages:,} in the queue"
    if not confirm(f"{busy}; they run in the same functions, and both measure the other too"):
        raise Misuse(f"not started: {busy}; wait for them, end them with `serpline measure clean`, or --yes")


def new_name(kind: Kind, now: float) -> str:
    """What an experiment that begins now is called."""
    return f"{kind}-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def write_down(stand: Stand, kind: Kind, **fields: Any) -> Experiment:
    """A new experiment, written down before anything else is done. Raises ``Permanent`` for a name taken."""
    now = stand.clock()
    experiment = Experiment(
        experiment=new_name(kind, now), created_at=now, by=stand.by, contact=stand.contact, **fields
    )
    key = keys.experiment(experiment.experiment)
    body = msgspec.json.encode(experiment)
    # A write whose answer was lost finds itself there.
    if not stand.storage.put_new(key, body) and stand.storage.get(key) != body:
        raise Permanent(f"there is an experiment {experiment.experiment} already: start again")
    return experiment


def find_experiment(storage: Storage, name: str, kind: Kind | None = None) -> Experiment:
    """The experiment of this name, as ``pick`` finds it. Raises ``Misuse`` where that is not one."""
    return read_experiment(storage, pick(experiment_names(storage), name, kind))


def pick(names: Iterable[str], name: str, kind: Kind | None = None) -> str:
    """The one of this name or with this beginning, with "" the latest; ``Misuse`` for none or many."""
    what = f"experiment {kind}" if kind is not None else "experiment"
    names = [one for one in names if kind is None or one.startswith(f"{kind}-")]
    found = [name] if name in names else [one for one in names if one.startswith(name)]
    if not name and found:
        # Behind the kind stands the moment.
        found = [max(found, key=lambda one: one.partition("-")[2])]
    if not found:
        known = f"; there are {', '.join(names[-5:])}" if names else "; none was started in this lake"
        raise Misuse(f"there is no {what} {name or 'to look at'}{known}")
    if len(found) > 1:
        raise Misuse(f"{len(found)} experiments begin with {name!r}: {', '.join(found[:5])}")
    return found[0]


def experiment_names(storage: Storage) -> list[str]:
    """The names of all that were written down, in their order."""
    ending = keys.experiment("").rpartition("/")[2]
    found = (key.removeprefix(keys.MEASUREMENTS).split("/") for key in storage.keys(keys.MEASUREMENTS))
    return [words[0] for words in found if len(words) == 2 and words[1] == ending]


def read_experiment(storage: Storage, name: str) -> Experiment:
    """One experiment as it was written down. Raises ``Unreadable`` for anything else there."""
    key = keys.experiment(name)
    try:
        return msgspec.json.decode(storage.get(key), type=Experiment)
    except msgspec.DecodeError as error:
        raise Unreadable(f"{key} is no experiment: {error}", key=key) from error


def done_probes(storage: Storage, experiment: Experiment) -> set[str]:
    """The probes that wrote down what they saw."""
    prefix = keys.measurements(experiment.experiment)
    names = {key.removeprefix(prefix).removesuffix(".json") for key in storage.keys(prefix)}
    return names & {order.probe for _, order in orders(experiment)}


def progress(storage: Storage, experiment: Experiment, now: float) -> Progress:
    """How far it is at this moment."""
    done = done_probes(storage, experiment)
    planned = [order for _, order in orders(experiment)]
    open_ = [order for order in planned if order.probe not in done]
    missing = tuple(order.probe for order in open_ if ends_by(order) < now)
    to_come = [order.scheduled_at for order in open_ if order.scheduled_at > now]
    again = tuple(sorted(repeats(storage, experiment.experiment)))
    return Progress(len(planned), len(done), missing, min(to_come, default=None), again)


def read_readings(storage: Storage, experiment: Experiment) -> list[Reading]:
    """What the probes saw so far, in their order. Raises ``Unreadable`` for an object that is no reading."""
    done = done_probes(storage, experiment)
    names = [order.probe for _, order in orders(experiment) if order.probe in done]
    found = read_objects(storage, [keys.reading(experiment.experiment, name) for name in names])
    return enriched(found, experiment, repeats(storage, experiment.experiment))


def repeats(storage: Storage, experiment: str) -> Counter[str]:
    """How often each probe was told again to run after it had answered."""
    prefix = keys.repeats(experiment)
    return Counter(key.removeprefix(prefix).partition("/")[0] for key in storage.keys(prefix))


def read_objects(storage: Storage, found: Sequence[str]) -> list[Reading]:
    """The readings under these keys. Raises ``Unreadable`` for an object that is none."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda key: _read(storage, key), found))


def _read(storage: Storage, key: str) -> Reading:
    try:
        return decode_reading(storage.get(key))
    except msgspec.DecodeError as error:
        raise Unreadable(f"{key} is no reading: {error}; delete it", key=key) from error


def collect(storage: Storage, table: MeasurementTable, experiment: Experiment) -> int:
    """Commit what is there and not yet in the table; gives how many rows were new."""
    found = read_readings(storage, experiment)
    return table.append_readings(found) if found else 0
