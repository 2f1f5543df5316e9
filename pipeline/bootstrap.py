"""Bootstrap: the one place that builds clients and decides which kind of each a place has."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import Misuse
from pipeline.metrics import MemoryMetrics, Metrics
from pipeline.pacers.folder import FolderPaceStore
from pipeline.pacers.pacer import Pacer, PaceStore
from pipeline.queues.memory import MemoryBroker
from pipeline.queues.names import Queues
from pipeline.settings import Settings, bucket_of, read_secret
from pipeline.source_files import LoadedSource, load_sources, user_agent
from pipeline.steps.drop import DropTerms
from pipeline.steps.shard import Outlet, QueueOutlet
from pipeline.storage.folder import FolderStorage
from pipeline.storage.protocol import Storage

MAX_RECEIVES = 5
"""Deliveries of a message before it goes to the dead-letter queue."""


class Place(msgspec.Struct, frozen=True):
    """Where stages run: a lake, its pacer, the sources, and queues that each thread opens for itself.

    ``lake`` is a folder, or ``s3://bucket``. ``open_outlet`` says where shard's batches go; ``drops``
    what holds for files dropped here. ``longest`` is how many seconds a batch may take, ``patience`` how
    many a worker waits for storage or catalog with its messages in hand: both well within the time after
    which a broker takes them back. ``lane`` is which of a source's functions this is;
    ``backlog`` whether somebody releases what waits in storage.
    """

    lake: str
    storage: Storage
    pacer: Pacer
    sources: Mapping[str, LoadedSource]
    open_queues: Callable[[], Queues]
    open_catalog: Callable[[], Any]
    open_outlet: Callable[[Queues], Outlet]
    drops: DropTerms
    metrics: Metrics
    user_agent: str
    clock: Callable[[], float] = time.time
    longest: float = math.inf
    patience: float = 0.0
    lane: str = ""
    backlog: bool = False
    read_secret: Callable[[str], str] = read_secret


def open_place(
    settings: Settings, *, lake: str | Path, broker: str = "", base_urls: Mapping[str, str] | None = None
) -> Place:
    """A lake in a folder, with queues in this process or, given a URL, on a broker; or a lake on AWS.

    Raises ``Misuse`` for a wrong source file or a broker URL of no known kind.
    """
    if bucket_of(str(lake)) is not None:
        from pipeline.bootstrap_aws import open_aws_place  # noqa: PLC0415  # boto3 is slow to import

        return open_aws_place(settings, lake=str(lake))
    folder = Path(lake).expanduser().absolute()
    return Place(
        lake=str(folder),
        storage=FolderStorage(folder),
        pacer=Pacer(_pace_store(folder, broker, settings.name), time.time),
        sources=load_sources(Path(settings.sources) if settings.sources else None, base_urls),
        open_queues=_queue_opener(broker, settings),
        open_catalog=lambda: _folder_catalog(folder),
        open_outlet=QueueOutlet,
        drops=DropTerms(str(folder), settings.source, settings.device),
        metrics=MemoryMetrics(),
        user_agent=user_agent(version("serpline"), settings.contact),
        longest=settings.visibility / 2 if broker else math.inf,
        patience=settings.visibility / 3 if broker else 0.0,
    )


def _folder_catalog(folder: Path) -> Any:
    # Fetch workers need no tables; pyiceberg takes a second to import.
    from pipeline.folder_catalog import open_folder_catalog  # noqa: PLC0415

    return open_folder_catalog(folder)


def _pace_store(lake: Path, broker: str, name: str) -> PaceStore:
    """Where paces are kept: beside the queues on Redis, so that all machines share them; else in the lake."""
    if broker.partition("://")[0] in ("redis", "rediss"):
        from pipeline.pacers.redis import RedisPaceStore  # noqa: PLC0415

        return RedisPaceStore(broker, name)
    return FolderPaceStore(lake)


def _queue_opener(broker: str, settings: Settings) -> Callable[[], Queues]:
    if not broker:
        shared = MemoryBroker(max_receives=MAX_RECEIVES)
        return lambda: Queues(shared, settings.name, shared=True)
    if broker.partition("://")[0] not in ("redis", "rediss", "amqp", "amqps"):
        raise Misuse(
            "--broker takes a URL that begins with redis:// or amqp://; on AWS it is SQS, without saying so"
        )
    # Only workers on a broker need kombu; it takes a tenth of a second to import.
    from pipeline.queues.kombu import KombuBroker  # noqa: PLC0415

    def open_queues() -> Queues:
        connected = KombuBroker(broker, max_receives=MAX_RECEIVES, visibility=settings.visibility)
        return Queues(connected, settings.name)

    return open_queues


def new_runner() -> asyncio.Runner:
    """An event loop for one thread: uvloop's where it is installed."""
    return asyncio.Runner(loop_factory=_loop_factory())


def _loop_factory() -> Any:
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    return uvloop.new_event_loop
