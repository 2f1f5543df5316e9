"""The world of one simulation: what outlives every process, and how a process gets at it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import msgspec

from pipeline import keys
from pipeline.backlog import BacklogOutlet
from pipeline.bootstrap import Place
from pipeline.metrics import MemoryMetrics
from pipeline.pacers.pacer import Pacer
from pipeline.queues.names import Queues
from pipeline.simulate.asking import Asking
from pipeline.simulate.catalog import Catalog, SimulatedTables
from pipeline.simulate.deployment import BUCKET, LANES, SOURCES, draw_deployment, draw_quota
from pipeline.simulate.engine import Engine
from pipeline.simulate.faults import Faults, Life, Violation
from pipeline.simulate.files import KeywordFile
from pipeline.simulate.mail import Mail
from pipeline.simulate.pace import Paces, SimulatedPaceStore
from pipeline.simulate.queues import SimulatedBroker
from pipeline.simulate.replacing import SimulatedGroup
from pipeline.simulate.storage import Bucket, SimulatedStorage
from pipeline.simulate.timeline import Timeline
from pipeline.simulate.trace import Trace
from pipeline.steps.aggregate import AggregateStep
from pipeline.steps.drop import DropTerms
from pipeline.steps.fetch import FetchStep
from pipeline.steps.shard import Outlet, ShardStep
from pipeline.storage.protocol import Storage
from stages.run import Run

NAME = "t"


class Parts(msgspec.Struct, frozen=True):
    """What processes are made of; a test puts a part with a mistake in a part's place."""

    storage: type[SimulatedStorage] = SimulatedStorage
    broker: type[SimulatedBroker] = SimulatedBroker
    tables: type[SimulatedTables] = SimulatedTables
    shard: type[ShardStep] = ShardStep
    fetch: type[FetchStep] = FetchStep
    aggregate: type[AggregateStep] = AggregateStep
    group: type[SimulatedGroup] = SimulatedGroup


class Log:
    """Takes log lines; what a step calls a defect is a violation."""

    def bind(self, **_bound: Any) -> Log:
        """What is bound is of no use here."""
        return self

    def info(self, _event: str, **_fields: Any) -> None:
        """Not kept."""

    warning = info

    def error(self, event: str, **fields: Any) -> None:
        """An error that was expected is no defect."""
        defect = fields.get("exc_info")
        if defect is not None:
            raise Violation(f"{event}: {type(defect).__name__}: {defect}") from defect

    def exception(self, event: str, **_fields: Any) -> None:
        """A defect in judging an answer."""
        raise Violation(event)


class Dropped(msgspec.Struct, frozen=True):
    """A file that was dropped, the run that is to come of it, and the message that says so."""

    file: KeywordFile
    run_id: str
    event: bytes


class World:
    """Everything that processes share."""

    def __init__(self, random: Random, parts: Parts, tasks: int = 0) -> None:
        """``tasks`` are those of the story; without any no source has a quota."""
        self.random = random
        self.parts = parts
        self.trace = Trace()
        self.timeline = Timeline(random)
        self.faults = Faults(self.timeline, random, self.trace)
        self.unharmed = Faults(self.timeline, random, self.trace)
        """For who looks from outside: no weather reaches it."""
        self.bucket = Bucket()
        self.mail = Mail(self.faults, self._lose)
        self.catalog = Catalog()
        self.paces = Paces()
        self.asking = Asking()
        self.engine = Engine(self.faults, self.asking)
        self.log = Log()
        self.quota = draw_quota(random, tasks, self.timeline.now) if tasks else None
        self.deployment = draw_deployment(random, 1, self.quota)
        self.moves = False
        """Whether answers moved while the weather was bad."""
        self.skew = 0.0
        """By how much clocks differ while the weather is bad."""
        self.deployments = [self.deployment]
        """Every release there was."""
        self.mappings = {mapping(source, lane): lane == 0 for source in SOURCES for lane in range(LANES)}
        self.drops: list[Dropped] = []
        self.replaced: dict[tuple[str, str], KeywordFile] = {}
        """Lists that were written anew, by key and version: a schedule means what stands there then."""
        self.losses: list[bytes] = []
        """Messages that expired or were buried."""
        self.told: Counter[str] = Counter()
        """How often each run was said to be complete."""

    def deploy(self) -> None:
        """A new release; processes take it up at their next message."""
        self.deployment = draw_deployment(self.random, self.deployment.number + 1, self.quota)
        self.deployments.append(self.deployment)
        self.faults.note("director", "deploys", str(self.deployment.number))

    def storage(self, life: Life) -> SimulatedStorage:
        """Storage for one life."""
        return self.parts.storage(self.bucket, self.faults, life, lambda key: self._writing(key, life))

    def queues(self, life: Life) -> Queues:
        """Queues for one life."""
        return Queues(self.parts.broker(self.mail, self.faults, life), NAME)

    def tables(self, life: Life) -> SimulatedTables:
        """Tables for one life."""
        return self.parts.tables(self.catalog, self.faults, life, self.deployment.results_a_commit)

    def pacer(self, life: Life) -> Pacer:
        """The pacer for one life."""
        return Pacer(SimulatedPaceStore(self.paces, self.faults, life), life.clock)

    def place(self, life: Life) -> Place:
        """Where commands and workers work, in one life."""
        storage = self.storage(life)
        return Place(
            lake=f"s3://{BUCKET}",
            storage=storage,
            pacer=self.pacer(life),
            sources=self.deployment.loaded,
            open_queues=lambda: self.queues(life),
            open_catalog=_no_catalog,
            open_outlet=lambda queues: self.outlet(storage, queues),
            drops=DropTerms(BUCKET, self.deployment.source, "desktop"),
            metrics=MemoryMetrics(),
            user_agent="serpline/simulated",
            clock=life.clock,
            longest=self.deployment.longest,
            backlog=self.deployment.backlog,
        )

    def outlet(self, storage: Storage, queues: Queues) -> Outlet:
        """The way out of shard: queue and backlog."""
        paces = {name: one.source.spec.politeness for name, one in self.deployment.loaded.items()}
        rates = {name: pace.rate for name, pace in paces.items()}
        quotas = {name: pace.quota for name, pace in paces.items()}
        return BacklogOutlet(storage, queues, rates, self.deployment.horizon, quotas, self.timeline)

    def runs(self) -> list[Run]:
        """Every run that was frozen, looked up without a fault."""
        found = sorted(key for key in self.bucket.objects if key.endswith("/run.json"))
        return [msgspec.json.decode(self.bucket.objects[key], type=Run) for key in found]

    def _writing(self, key: str, life: Life) -> Callable[[], None]:
        if key.startswith(keys.STAGING) and not keys.is_shard(key):
            return partial(self.asking.staged, key, self.asking.latest(key, life.name))
        return _nothing

    def _lose(self, body: bytes) -> None:
        self.losses.append(body)


def mapping(source: str, lane: int) -> str:
    """The name of what hands a source's messages to a lane."""
    return f"{source}/{lane}"


def _nothing() -> None:
    """Nobody counts this object."""


def _no_catalog() -> Any:
    raise AssertionError("tables of a simulation are opened by their life")
