"""The shard step: one part of a run to batches in the fetch queues, rejects and a row of the ledger."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Protocol, cast

import msgspec

from pipeline import keys
from pipeline.errors import Permanent
from pipeline.metrics import Metrics
from pipeline.queues.names import Queues
from pipeline.queues.protocol import Queue
from pipeline.runs import load_run
from pipeline.spreading import timed
from pipeline.storage.protocol import Storage
from stages.keywords import NORMALISER
from stages.records import Batch, Malformed, Pointer
from stages.run import Run, ShardTask
from stages.shard import ShardRow, shard
from stages.staged import encode_shard_row
from stages.text_blocks import Reject

SENT_AT_ONCE = 10
"""Batches of one send (SQS takes ten a call)."""


class Sender(Protocol):
    """Where the batches of one part go, in their order."""

    def send(self, source: str, batches: Sequence[Batch]) -> None:
        """Store or send batches of one source."""

    def end(self) -> None:
        """The part has no more."""


class Outlet(Protocol):
    """Opens the way out for the batches of a part."""

    def __call__(self, run: Run, part: int) -> Sender:
        """The sender of one part of a run."""


class QueueOutlet:
    """Batches go to the queues of their sources at once."""

    def __init__(self, queues: Queues, admit: Callable[[Queue], None] = lambda _queue: None) -> None:
        """``admit`` is called before batches are sent and may wait until the queue has room."""
        self._queues = queues
        self._admit = admit

    def __call__(self, run: Run, part: int) -> Sender:  # noqa: ARG002
        """Every part has the same way."""
        return self

    def send(self, source: str, batches: Sequence[Batch]) -> None:
        """Send them."""
        queue = self._queues.fetch(source)
        self._admit(queue)
        queue.send([_encoder.encode(batch) for batch in batches], group=batches[0].run_id)

    def end(self) -> None:
        """Nothing is held back."""


SPOOLED = 8 << 20
"""Bytes of rejects held in memory before they go to a temporary file."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ShardTask)


class ShardStep:
    """Shards one part of a run a message."""

    def __init__(
        self,
        storage: Storage,
        queues: Queues,
        metrics: Metrics,
        log: Any,
        outlet: Outlet,
    ) -> None:
        self._outlet = outlet
        self._storage = storage
        self._queues = queues
        self._metrics = metrics
        self._log = log

    def __call__(self, body: bytes) -> None:
        """Shard the part that the message names.

        Repeated, it sends the same batches again: fetch finds their staged objects. Raises
        ``Permanent`` for a message that names no part of a run, ``ObjectMissing`` for a run or file
        that is gone.
        """
        task = decode_shard_task(body)
        run = load_run(self._storage, task.run_id)
        if run.normaliser != NORMALISER:
            raise Permanent(
                f"run {run.run_id} was frozen with normaliser {run.normaliser}, this code has {NORMALISER}: "
                "shard it with the version that froze it, or drop the file again"
            )
        log = self._log.bind(stage="shard", run_id=run.run_id, part=task.part)
        with (
            self._storage.open(run.key, version=run.version) as stream,
            tempfile.SpooledTemporaryFile(SPOOLED) as spool,
        ):
            rejects = cast("BinaryIO", spool)
            row = self._shard(stream, run, task.part, rejects)
            if rejects.tell():
                rejects.seek(0)
                self._storage.put_file(keys.rejects(run.run_id, task.part), rejects)
        # The row goes last: with it the ledger says how many pages to expect.
        key = keys.staged_shard(run.run_id, task.part)
        self._storage.put_new(key, encode_shard_row(row))
        self._queues.results.send([_encoder.encode(Pointer(key))])
        log.info(
            "part sharded", **{name: getattr(row, name) for name in ("lines", "kept", "tasks", "refused")}
        )

    def _shard(self, stream: BinaryIO, run: Run, part: int, rejects: BinaryIO) -> ShardRow:
        sender = self._outlet(run, part)
        waiting: dict[str, list[Batch]] = {}
        read = 0
        try:
            for event in timed(self._storage, run, part, shard(stream, run, part)):
                if isinstance(event, Reject):
                    rejects.write(_encoder.encode(event) + b"\n")
                elif isinstance(event, Batch):
                    batches = waiting.setdefault(event.source, [])
                    batches.append(event)
                    self._metrics.add("tasks", len(event.tasks))
                    if len(batches) >= SENT_AT_ONCE:
                        sender.send(event.source, batches)
                        batches.clear()
                        at = stream.tell()
                        self._metrics.add("bytes_read", at - read)
                        read = at
                else:
                    self._count(event, run.size - read)
                    row = event
        except Malformed as error:
            rejects.write(_encoder.encode(Reject(0, "file_refused", str(error))) + b"\n")
            row = ShardRow(run.run_id, run.run_date, run.name, part, run.parts, refused=str(error))
        for source, batches in waiting.items():
            if batches:
                sender.send(source, batches)
        sender.end()
        return row

    def _count(self, row: ShardRow, unread: int) -> None:
        self._metrics.add("bytes_read", unread)
        self._metrics.add("lines", row.lines)
        self._metrics.add("duplicates", row.duplicates)
        self._metrics.add("rejects", row.rejected)


def names_part(body: bytes) -> bool:
    """Whether a message of the keywords queue names a part of a run, and drops nothing."""
    try:
        _decoder.decode(body)
    except msgspec.DecodeError:
        return False
    return True


def decode_shard_task(body: bytes) -> ShardTask:
    """The part that a message of the keywords queue names. Raises ``Permanent``."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Permanent(f"a message of the keywords queue names no part of a run: {error}") from error
