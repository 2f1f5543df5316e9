"""The aggregate step: staged objects that pointers name, committed to the tables, each exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from pipeline import keys
from pipeline.catalog import Tables
from pipeline.errors import CatalogUnavailable, ObjectMissing, Permanent, PipelineError, Unreadable
from pipeline.metrics import Metrics
from pipeline.storage.protocol import Storage
from stages.aggregate import closing_table, shard_table
from stages.records import Closing, Malformed, Pointer
from stages.shard import ShardRow
from stages.staged import Staged, decode_closing, decode_shard_row, decode_staged


class _Told(Pointer, frozen=True):
    """A pointer as somebody may have written it: ours name no bucket."""

    bucket: str = ""


_decoder = msgspec.json.Decoder(_Told)


class AggregateStep:
    """Commits many pointers a call; the ones that cannot be read never keep their neighbours back."""

    def __init__(self, storage: Storage, tables: Tables, metrics: Metrics, log: Any) -> None:
        self._storage = storage
        self._tables = tables
        self._metrics = metrics
        self._log = log.bind(stage="aggregate")

    def __call__(self, bodies: Sequence[bytes]) -> dict[int, PipelineError]:
        """Commit what the messages point to; gives the messages that failed, by position, with why.

        Raises what the catalog or the storage raise: then none of the messages is done.
        """
        drawn = _Drawn(self._storage, bodies)
        with _blaming_none():
            committed = self._tables.append_pages(drawn.staged(), drawn.refuse)
            # Rows come after pages: a run whose row is there never looks emptier than it is for long.
            added = self._tables.append_shards(drawn.rows) if drawn.rows else 0
            closings = self._tables.append_closings(drawn.closings) if drawn.closings else 0
            there = self._tables.closing_ids() if drawn.cleared else set()
        drawn.failed |= {
            at: error for at, error in drawn.cleared.items() if keys.closing_id(error.key) not in there
        }
        for source, pages in drawn.of_source.items():
            self._metrics.of(source).add("pages_committed", pages)
        self._metrics.add("results_committed", committed.results)
        self._log.info(
            "committed",
            pages=committed.pages,
            results=committed.results,
            already=committed.already,
            shards=added,
            closings=closings,
            failed=len(drawn.failed),
        )
        return drawn.failed


@contextmanager
def _blaming_none() -> Iterator[None]:
    """What is wrong with a table, as one that is newer than this code, is no message's fault: all wait."""
    try:
        yield
    except Permanent as error:
        raise CatalogUnavailable(f"{error}; what is queued waits until then") from error


class _Drawn:
    """What the messages of one call point to, read one after another; what is bad goes to ``failed``.

    ``rows`` are the shard rows among it, ``closings`` those of sources, ``of_source`` the pages that were
    taken. ``cleared`` are closings that are gone, which is no loss if the table has them.
    """

    def __init__(self, storage: Storage, bodies: Sequence[bytes]) -> None:
        self._storage = storage
        self._bodies = bodies
        self._at, self._key = 0, ""
        self.rows: list[ShardRow] = []
        self.closings: list[Closing] = []
        self.failed: dict[int, PipelineError] = {}
        self.cleared: dict[int, ObjectMissing] = {}
        self.of_source: Counter[str] = Counter()

    def staged(self) -> Iterator[Staged]:
        """The staged batches."""
        for at, body in enumerate(self._bodies):
            self._at = at
            try:
                self._key = _key(body)
                raw = self._storage.get(self._key)
                if keys.is_shard(self._key):
                    row = decode_shard_row(raw)
                    # Alone, so that one that cannot be a row of the table keeps no other back.
                    shard_table([row])
                    self.rows.append(row)
                    continue
                if keys.is_closing(self._key):
                    closing = decode_closing(raw)
                    closing_table([closing])
                    self.closings.append(closing)
                    continue
                staged = decode_staged(raw)
            except Malformed as error:
                self.refuse(error)
            except ObjectMissing as error:
                (self.cleared if keys.is_closing(self._key) else self.failed)[at] = error
            except PipelineError as error:
                self.failed[at] = error
            else:
                yield staged
                if at not in self.failed:
                    self.of_source[staged.header.batch.source] += staged.header.pages

    def refuse(self, error: Malformed) -> None:
        """The object that was read last is not what it should be."""
        self.failed[self._at] = Unreadable(f"staged object {self._key}: {error}", key=self._key)


def _key(body: bytes) -> str:
    try:
        told = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Permanent(f"a message of the results queue is no pointer: {error}") from error
    key = told.key
    if told.bucket:
        raise Permanent(f"{key!r} of bucket {told.bucket!r}: a pointer names an object of this lake alone")
    if not key.startswith(keys.STAGING):
        raise Permanent(f"{key!r} is no staged object: a pointer names one below {keys.STAGING}")
    return key
