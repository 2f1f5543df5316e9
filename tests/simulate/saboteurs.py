"""Mistakes that were put in on purpose, each in place of one part of the processes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from pipeline.errors import PipelineError
from pipeline.http_client import Slot
from pipeline.iceberg import UnknownOutcome
from pipeline.queues.protocol import Received
from pipeline.retrieve import Retrieved, Retriever
from pipeline.simulate.catalog import COMMIT_TAKES, Catalog, SimulatedTables
from pipeline.simulate.queues import SimulatedBroker, SimulatedQueue
from pipeline.simulate.replacing import SimulatedGroup
from pipeline.simulate.storage import SimulatedStorage
from pipeline.simulate.world import Parts
from pipeline.steps.fetch import FetchStep
from stages.records import Batch, Request, Response
from stages.source import Limits
from stages.staged import read_header


class EagerQueue(SimulatedQueue):
    """Acknowledges what it gives before anything was done with it."""

    def receive(self, most: int, *, wait: float) -> list[Received]:
        received = super().receive(most, wait=wait)
        for one in received:
            self.ack(one)
        return received


class EagerBroker(SimulatedBroker):
    """Opens such queues."""

    def queue(self, name: str) -> SimulatedQueue:
        return EagerQueue(name, self._mail, self._faults, self._life)


class OverwritingStorage(SimulatedStorage):
    """Takes ``put_new`` for ``put``: who comes last stays."""

    def put_new(self, key: str, body: bytes) -> bool:
        if not key.startswith("staging/"):
            return super().put_new(key, body)
        self.put(key, body)
        return True


class ForgetfulTables(SimulatedTables):
    """Appends without looking which batches are there."""

    def _batches_there(self, *_: Any) -> set[Any]:
        return set()


def _append_now(catalog: Catalog, table: str, files: list[Any]) -> None:
    current = catalog.current(table)
    catalog.commit(current, (*current.files, *files))


class LateLookTables(SimulatedTables):
    """Looks at one snapshot and appends to whichever is the current one."""

    def _append(self, table: Any, files: list[Any]) -> None:
        self._faults.effect(
            self._life,
            "commit",
            table.table,
            lambda: _append_now(self._model, table.table, files),
            UnknownOutcome,
            takes=COMMIT_TAKES,
        )


class SelfishFetch(FetchStep):
    """Sends on what it made itself, although another delivery's object is the one that stands."""

    def _stage(self, key: str) -> bytes:
        ours = self._unstored[key]
        super()._stage(key)
        return ours


class ForgettingFetch(FetchStep):
    """Loses what a batch left undone."""

    def _forward(self, key: str, staged: bytes) -> int:
        header = read_header(staged)
        if header.remainder is None or header.pages == 0:
            return super()._forward(key, staged)
        self._queues.results.send([msgspec.json.encode({"key": key, "pages": header.pages})])
        return header.pages


class BlindFetch(FetchStep):
    """Does not look whether its batch was staged before it asks."""

    def _fetch(self, batch: Any) -> None:
        real, self._storage = self._storage, Blind(self._storage)
        try:
            super()._fetch(batch)
        finally:
            self._storage = real


class Blind:
    """Storage in which no staged batch is found."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def find(self, key: str) -> bytes | None:
        return None if key.startswith("staging/") else self._storage.find(key)


def _with_limits(retriever: Retriever, **limits: int) -> Retriever:
    """The retriever of a source whose file says other limits."""
    spec = retriever.source.spec
    spec = msgspec.structs.replace(spec, limits=msgspec.structs.replace(spec.limits, **limits))
    return msgspec.structs.replace(retriever, source=msgspec.structs.replace(retriever.source, spec=spec))


class TirelessFetch(FetchStep):
    """Tries again for ever."""

    def _ask(self, batch: Batch) -> Retrieved:
        self._retriever = _with_limits(self._retriever, attempts=1_000)
        return super()._ask(batch)


class StubbornFetch(FetchStep):
    """Tries three times as often as the source's file says."""

    def _ask(self, batch: Batch) -> Retrieved:
        real = self._retriever
        try:
            self._retriever = _with_limits(real, attempts=3 * real.source.spec.limits.attempts)
            return super()._ask(batch)
        finally:
            self._retriever = real


class ImportunateFetch(FetchStep):
    """Asks again whatever was refused."""

    def _ask(self, batch: Batch) -> Retrieved:
        self._retriever = _with_limits(self._retriever, refusals=1_000)
        return super()._ask(batch)


class UniformFetch(FetchStep):
    """Gives every source the same limits, whatever its file says."""

    def _ask(self, batch: Batch) -> Retrieved:
        self._retriever = _with_limits(self._retriever, attempts=4, refusals=4)
        return super()._ask(batch)


class DoubtingFetch(FetchStep):
    """Asks for the whole batch a second time, and goes by that."""

    def _ask(self, batch: Batch) -> Retrieved:
        super()._ask(batch)
        return super()._ask(batch)


class SpendthriftFetch(FetchStep):
    """Knows of no quota."""

    def _ask(self, batch: Batch) -> Retrieved:
        source = self._retriever.source
        pace = msgspec.structs.replace(source.spec.politeness, quota=0)
        spec = msgspec.structs.replace(source.spec, politeness=pace)
        source = msgspec.structs.replace(source, spec=spec)
        self._retriever = msgspec.structs.replace(self._retriever, source=source)
        return super()._ask(batch)


class Unpunctual:
    """A client that sends what is late."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
        async def leave() -> bool:
            if slot is not None:
                await slot()
            return True

        return await self._client.send(request, limits, leave)

    async def close(self) -> None:
        await self._client.close()


class UnpunctualFetch(FetchStep):
    """Looks at the clock before there is a connection, and not after."""

    def _ask(self, batch: Batch) -> Retrieved:
        real = self._retriever
        try:
            self._retriever = msgspec.structs.replace(real, client=Unpunctual(real.client))
            return super()._ask(batch)
        finally:
            self._retriever = real


class RushingFetch(FetchStep):
    """Asks at three times the rate of the source's file."""

    def _ask(self, batch: Batch) -> Retrieved:
        real = self._retriever
        pace = real.source.spec.politeness
        spec = msgspec.structs.replace(
            real.source.spec, politeness=msgspec.structs.replace(pace, rate=3 * pace.rate)
        )
        try:
            self._retriever = msgspec.structs.replace(
                real, source=msgspec.structs.replace(real.source, spec=spec)
            )
            return super()._ask(batch)
        finally:
            self._retriever = real


class HastyFetch(FetchStep):
    """Takes a closing for told before it was."""

    def tell(self, source: str, *, look: bool = False) -> None:
        pacer = self._retriever.pacer
        with suppress(PipelineError):
            pacer.told(source, pacer.state(source).untold)
        super().tell(source, look=look)


class ThawingStorage(SimulatedStorage):
    """Freezes a run anew at each event."""

    def find(self, key: str) -> bytes | None:
        return None if key.endswith("/run.json") else super().find(key)

    def get(self, key: str) -> bytes:
        found = super().find(key)
        assert found is not None, key
        return found

    def put_new(self, key: str, body: bytes) -> bool:
        if not key.endswith("/run.json"):
            return super().put_new(key, body)
        self.put(key, body)
        return True


class CarelessGroup(SimulatedGroup):
    """Replaces files whether they are still there or not."""

    def still(self) -> bool:
        return True


class StaleGroup(SimulatedGroup):
    """Commits what it saw when it read the files: what others appended since is gone."""

    def look(self) -> None:
        seen = self._seen
        super().look()
        self._now, self._seen = self._seen, seen

    def replace(self) -> None:
        kept = [file for file in self._seen.files if id(file) not in self._gone]
        self._catalog.commit(self._now, [*kept, self._new], self._catalog.new_attempt())


SABOTEURS: dict[str, Parts] = {
    "a message is acknowledged before it was worked on": Parts(broker=EagerBroker),
    "a staged object is written over another": Parts(storage=OverwritingStorage),
    "a commit appends without a look at what is there": Parts(tables=ForgetfulTables),
    "look and append stand on different snapshots": Parts(tables=LateLookTables),
    "a fetch that lost sends on its own pages": Parts(fetch=SelfishFetch),
    "the remainder of a batch is not sent": Parts(fetch=ForgettingFetch),
    "a run is frozen once more": Parts(storage=ThawingStorage),
    "a batch is asked again though it was staged": Parts(fetch=BlindFetch),
    "attempts have no limit": Parts(fetch=TirelessFetch),
    "attempts are three times those of the source's file": Parts(fetch=StubbornFetch),
    "refusals have no limit": Parts(fetch=ImportunateFetch),
    "all sources have the same limits": Parts(fetch=UniformFetch),
    "a batch is asked twice in one delivery": Parts(fetch=DoubtingFetch),
    "a quota is not looked at": Parts(fetch=SpendthriftFetch),
    "what comes too late is sent all the same": Parts(fetch=UnpunctualFetch),
    "a source is asked at three times its rate": Parts(fetch=RushingFetch),
    "a closing is forgotten before it is told": Parts(fetch=HastyFetch),
    "compaction replaces files that are gone": Parts(group=CarelessGroup),
    "compaction drops what came since it read": Parts(group=StaleGroup),
}
