"""What of a run is not in the table yet, found from what the lake holds: file, staged objects and rows.

A run's file is sharded again, which always cuts the same batches, and each batch is followed through its
staged objects. What waits in a queue is not seen: sent again it finds its staged object, or its place taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from pipeline import keys
from pipeline.catalog import Ledger, Tables
from pipeline.errors import Misuse, Permanent, Unreadable
from pipeline.spreading import timed
from pipeline.storage.protocol import Storage
from stages.keywords import NORMALISER
from stages.records import Batch, Malformed, Pointer
from stages.run import Run
from stages.shard import shard
from stages.staged import Header, read_header

STAGED_DAYS = 45
"""Days for which staged objects live at least."""

_Id = tuple[int, int, int]
"""Part, batch and cut within one run."""


class Pending(msgspec.Struct, frozen=True):
    """A batch whose tasks are not all in the table.

    ``staged`` names its objects that are not committed; ``open`` is the message of the cut that has no
    object, None where every task is in one. ``tasks`` of it have no page in the table.
    """

    tasks: int
    staged: tuple[Pointer, ...]
    open: Batch | None


class Unsharded(msgspec.Struct, frozen=True):
    """Parts of a run without a row in the ledger: ``lost`` are to be sharded, ``staged`` only committed."""

    lost: tuple[int, ...]
    staged: tuple[int, ...]


class There:
    """What the table holds of one part of a run: a few numbers a batch."""

    def __init__(self, cuts: Counter[tuple[int, int]]) -> None:
        self._cuts = cuts
        self._pages: Counter[int] = Counter()
        self._last: dict[int, int] = {}
        for (batch_no, cut), pages in cuts.items():
            self._pages[batch_no] += pages
            self._last[batch_no] = max(cut, self._last.get(batch_no, 0))

    def pages(self, batch: Batch) -> int:
        """Pages of every cut of the batch."""
        return self._pages[batch.batch_no]

    def has(self, batch: Batch) -> bool:
        """Whether this very cut is there."""
        return (batch.batch_no, batch.cut) in self._cuts

    def reaches(self, batch: Batch) -> bool:
        """Whether this cut or a later one of the batch is there."""
        return self._last.get(batch.batch_no, -1) >= batch.cut


def check_mendable(run: Run, now: float, what: str) -> None:
    """Whether the lake still tells what is missing of a run. Raises ``Misuse``, naming ``what`` cannot be."""
    if run.by == "here":
        raise Misuse(
            f"run {run.run_id} was made by `serpline run`: the same command goes on with it, and there is "
            f"nothing to {what}"
        )
    if now - run.created_at > STAGED_DAYS * 86_400:
        raise Misuse(
            f"run {run.run_id} is older than {STAGED_DAYS} days, and what it staged may be gone: to {what} "
            "it could count a task twice; drop its file again instead"
        )
    if run.normaliser != NORMALISER:
        raise Misuse(
            f"run {run.run_id} was frozen with normaliser {run.normaliser}, this code has {NORMALISER}: "
            f"{what} it with the version that froze it"
        )


def unsharded(storage: Storage, run: Run, ledger: Ledger) -> Unsharded:
    """The parts that the ledger has no row of."""
    rows = {row.part for row in ledger.shards}
    lost: list[int] = []
    staged: list[int] = []
    for part in sorted(set(range(run.parts)) - rows):
        there = storage.find(keys.staged_shard(run.run_id, part)) is not None
        (staged if there else lost).append(part)
    return Unsharded(tuple(lost), tuple(staged))


def pending(storage: Storage, tables: Tables, run: Run, part: int) -> Iterator[Pending]:
    """The batches of a sharded part whose tasks are not all in the table, in their order.

    Memory: what sharding the part takes, and a few numbers a batch. Raises ``Unreadable`` where a staged
    object is damaged, or gone before its time.
    """
    there = There(tables.cuts(run.run_id, run.run_date, part))
    for batch in batches(storage, run, part):
        if there.pages(batch) < len(batch.tasks):
            yield follow(storage, batch, there)


def batches(storage: Storage, run: Run, part: int) -> Iterator[Batch]:
    """The batches of a part, as sharding cuts them."""
    with storage.open(run.key, version=run.version) as stream:
        try:
            cut = timed(storage, run, part, shard(stream, run, part))
            yield from (event for event in cut if isinstance(event, Batch))
        except Malformed:
            # The file was refused, which shows before its first batch.
            return


def follow(storage: Storage, batch: Batch, there: There | None = None) -> Pending:
    """What a batch, or a later cut of one, lacks: along its staged objects to the cut that has none."""
    there = there if there is not None else There(Counter())
    staged: list[Pointer] = []
    for key, cut, header in chain(storage, batch):
        if header is None:
            if there.reaches(cut):
                raise Unreadable(
                    f"staged object {key} is gone, but the table has its pages or later ones of the batch: "
                    "nobody can say which tasks are missing",
                    key=key,
                )
            return Pending(len(batch.tasks) - there.pages(batch), tuple(staged), cut)
        if header.pages and not there.has(cut):
            staged.append(Pointer(key, header.pages))
    return Pending(len(batch.tasks) - there.pages(batch), tuple(staged), None)


def chain(storage: Storage, batch: Batch) -> Iterator[tuple[str, Batch, Header | None]]:
    """The cuts of a batch from this one on, each with its key and its staged header; None ends them.

    It is given for the cut that has no object. A chain whose last object left nothing undone has no None.
    """
    cut: Batch | None = batch
    while cut is not None:
        key = keys.staged(cut)
        raw = storage.find(key)
        if raw is None:
            yield key, cut, None
            return
        try:
            header = read_header(raw)
        except Malformed as error:
            raise Unreadable(f"staged object {key}: {error}", key=key) from error
        yield key, cut, header
        cut = header.remainder


def in_backlog(storage: Storage, run: Run) -> Callable[[Batch], bool]:
    """Whether a batch waits in the backlog; looked up when it is first asked, a few numbers a batch."""
    ids: set[_Id] | None = None

    def waits(batch: Batch) -> bool:
        nonlocal ids
        if ids is None:
            ids = {waiting for _, waiting in backlog_of(storage, run)}
        return (batch.part, batch.batch_no, batch.cut) in ids

    return waits


class _Waiting(msgspec.Struct):
    part: int
    batch_no: int
    cut: int = 0


_waiting = msgspec.json.Decoder(_Waiting)


def backlog_of(storage: Storage, run: Run) -> Iterator[tuple[str, _Id]]:
    """The batches of a run that wait in the backlog, each with the key of its chunk."""
    for source in run.sources:
        for key in list(storage.keys(keys.backlog_of(source, run.created_at, run.run_id))):
            # It may be released between the look and the read: then it waits no more.
            for body in (storage.find(key) or b"").splitlines():
                try:
                    batch = _waiting.decode(body)
                except msgspec.DecodeError as error:
                    raise Permanent(f"{key} holds no batches: {error}") from error
                yield key, (batch.part, batch.batch_no, batch.cut)
