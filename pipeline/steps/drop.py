"""The drop step: what enters the keywords queue becomes a frozen run, and its parts are sent.

Three kinds of message enter: an S3 notification, a drop that a schedule makes, and keywords by
themselves. Each names its run the same way however often it is delivered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote_plus

import msgspec

from pipeline import keys
from pipeline.errors import Permanent, PipelineError
from pipeline.queues.names import Queues
from pipeline.runs import (
    RUN_ID,
    Drop,
    Given,
    find_run,
    freeze_run,
    is_complete,
    lines_of,
    new_options,
    spread_of,
)
from pipeline.source_files import LoadedSource
from pipeline.steps.shard import ShardStep, names_part
from pipeline.storage.protocol import Storage
from stages.records import Malformed, digest
from stages.run import Run, ShardTask, run_id_of

LINES_A_SECOND = 500_000
"""What a function reads of a file whose keywords mostly belong to other parts: half of what was measured."""

_Kind = TypeVar("_Kind")


class DropTerms(msgspec.Struct, frozen=True):
    """What holds for files dropped here.

    Their ``bucket``, the ``source`` and ``device`` of those that name none, and the ``longest`` that a
    part may take to read its file, in seconds.
    """

    bucket: str
    source: str
    device: str
    longest: float = math.inf


class _Object(msgspec.Struct, frozen=True):
    key: str
    size: int = 0
    versionId: str = ""  # noqa: N815  # Amazon's spelling
    eTag: str = ""  # noqa: N815
    sequencer: str = ""


class _Bucket(msgspec.Struct, frozen=True):
    name: str


class _S3(msgspec.Struct, frozen=True):
    bucket: _Bucket
    object: _Object


class _Record(msgspec.Struct, frozen=True):
    s3: _S3
    eventName: str = ""  # noqa: N815


class _Notification(msgspec.Struct, frozen=True):
    Records: list[dict[str, Any]]


class _Scheduled(msgspec.Struct, frozen=True):
    key: str
    drop: str
    source: str | None = None
    locale: str | None = None
    device: str | None = None
    pages: int | None = None
    spread: str | None = None


class _Direct(msgspec.Struct, frozen=True):
    keywords: list[str]
    run_id: str | None = None
    source: str | None = None
    locale: str | None = None
    device: str | None = None
    pages: int | None = None
    spread: str | None = None


class DropStep:
    """Freezes the runs that a message drops."""

    def __init__(
        self,
        storage: Storage,
        sources: Mapping[str, LoadedSource],
        terms: DropTerms,
        clock: Callable[[], float],
        log: Any,
    ) -> None:
        self._storage = storage
        self._sources = sources
        self._terms = terms
        self._clock = clock
        self._log = log

    def __call__(self, body: bytes) -> Iterator[Run]:
        """The runs that the message drops, frozen: none for a test event or a key that is no drop.

        Raises ``Permanent`` for a message of no known kind, ``ObjectMissing`` for a file that is gone:
        after the last run, so that one record never keeps its neighbours back.
        """
        try:
            message = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise Permanent(f"a message of the keywords queue is not JSON: {error}") from error
        if not isinstance(message, dict):
            raise Permanent("a message of the keywords queue is a JSON object; this one is not")
        if message.get("Event") == "s3:TestEvent":
            self._log.info("test event ignored")
        elif "Records" in message:
            yield from self._notified(_as(_Notification, message))
        elif "keywords" in message:
            yield self._direct(_as(_Direct, message), body)
        elif "drop" in message:
            yield self._scheduled(_as(_Scheduled, message))
        else:
            raise Permanent(
                "a message of the keywords queue is an S3 notification, a part of a run, a scheduled drop or "
                f"a list of keywords; this one has {', '.join(sorted(map(str, message))) or 'nothing'}"
            )

    def _notified(self, notification: _Notification) -> Iterator[Run]:
        failed: PipelineError | None = None
        for record in notification.Records:
            try:
                yield from self._record(_as(_Record, record))
            except PipelineError as error:
                # What may yet succeed decides: buried for another's fault, it would be lost.
                failed = error if failed is None or isinstance(failed, Permanent) else failed
        if failed is not None:
            raise failed

    def _record(self, record: _Record) -> Iterator[Run]:
        dropped = record.s3.object
        key = unquote_plus(dropped.key)
        if record.s3.bucket.name != self._terms.bucket:
            raise Permanent(f"an event of bucket {record.s3.bucket.name}: this is {self._terms.bucket}")
        if not record.eventName.startswith("ObjectCreated") or not keys.is_drop(key):
            self._log.info("event ignored", kind=record.eventName, key=key)
            return
        version = dropped.versionId if dropped.versionId else f"{dropped.eTag}.{dropped.sequencer}"
        run_id = run_id_of(self._terms.bucket, key, version)
        yield self._freeze(run_id, key, dropped.versionId, Given(**keys.path_options(key)))

    def _scheduled(self, scheduled: _Scheduled) -> Run:
        if not scheduled.key.startswith(keys.LISTS):
            raise Permanent(f"a schedule drops a file below {keys.LISTS}; {scheduled.key!r} is elsewhere")
        run_id = run_id_of(self._terms.bucket, scheduled.key, scheduled.drop)
        # Which version a schedule means is settled once, when the run is frozen.
        return self._freeze(run_id, scheduled.key, None, _given(scheduled))

    def _direct(self, direct: _Direct, body: bytes) -> Run:
        run_id = direct.run_id if direct.run_id is not None else digest(body.decode(), size=8)
        if not RUN_ID.fullmatch(run_id):
            raise Permanent("run_id takes up to 64 letters, digits, _ and -")
        key = keys.direct_keywords(run_id)
        lines = b"".join(msgspec.json.encode({"keyword": keyword}) + b"\n" for keyword in direct.keywords)
        if not self._storage.put_new(key, lines) and self._storage.get(key) != lines:
            raise Permanent(f"run {run_id} was made of other keywords: send these under another run_id")
        run = self._freeze(run_id, key, "", _given(direct))
        if run.key != key:
            raise Permanent(f"run {run_id} was made of {run.key}: send these keywords under another run_id")
        return run

    def _freeze(self, run_id: str, key: str, version: str | None, given: Given) -> Run:
        frozen = find_run(self._storage, run_id)
        if frozen is not None:
            return frozen
        self._storage.put(keys.unfinished(run_id), b"{}")
        pinned = version if version is not None else self._storage.version_of(key)
        name = key.rpartition("/")[2]
        options, objection = new_options(given, self._sources, self._terms.source, self._terms.device)
        spread, wrong = spread_of(given)
        objection = objection if objection else wrong
        lines = 0
        if not objection:
            try:
                lines = lines_of(self._storage, key, pinned)
                # A spread run's file is read twice.
                objection = self._too_large(lines, self._terms.longest / (2 if spread else 1))
            except Malformed as error:
                objection = f"{name}: {error}"
        run = freeze_run(
            self._storage,
            run_id,
            Drop(key, name, options, "workers", pinned, objection, spread),
            lines=lines,
            sources=self._sources,
            clock=self._clock,
        )
        self._log.info("run frozen", run_id=run_id, key=key, parts=run.parts, refused=run.refused)
        return run

    def _too_large(self, lines: int, longest: float) -> str:
        if lines <= LINES_A_SECOND * longest:
            return ""
        most = int(LINES_A_SECOND * longest)
        return (
            f"about {lines:,} lines: each part reads the whole file, and a function has time for {most:,}; "
            "split the file"
        )


class KeywordsStep:
    """What is done with a message of the keywords queue, whichever kind it is."""

    def __init__(self, drop: DropStep, shard: ShardStep, storage: Storage, queues: Queues) -> None:
        self._storage = storage
        self._drop = drop
        self._shard = shard
        self._queues = queues

    def __call__(self, body: bytes) -> None:
        """Shard the part that the message names, or freeze what it drops and have its parts sharded."""
        if names_part(body):
            self._shard(body)
            return
        parts: list[bytes] = []
        try:
            for run in self._drop(body):
                if is_complete(self._storage, run.run_id):
                    continue  # a late repetition of what is done
                parts.extend(msgspec.json.encode(ShardTask(run.run_id, part)) for part in range(run.parts))
        except PipelineError:
            # What was frozen goes on by itself: the message may be buried for what was not.
            if parts:
                self._queues.keywords.send(parts)
            raise
        if len(parts) == 1:
            # The common case pays for no second message.
            self._shard(parts[0])
        elif parts:
            self._queues.keywords.send(parts)


def _given(message: _Scheduled | _Direct) -> Given:
    pages = str(message.pages) if message.pages is not None else None
    return Given(message.source, message.locale, message.device, pages, message.spread)


def _as(kind: type[_Kind], message: dict[str, Any]) -> _Kind:
    try:
        return msgspec.convert(message, kind)
    except msgspec.ValidationError as error:
        raise Permanent(f"a message of the keywords queue is wrong: {error}") from error
