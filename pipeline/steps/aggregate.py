"""The aggregate step: staged objects that pointers name, committed to the tables, each exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from pipeline import keys
from pipeline.catalog import Tables
from pipeline.errors import Permanent, PipelineError, Unreadable
from pipeline.metrics import Metrics
from pipeline.storage.protocol import Storage
from stages.records import Malformed, Pointer
from stages.shard import ShardRow
from stages.staged import Staged, decode_shard_row, decode_staged

_decoder = msgspec.json.Decoder(Pointer)


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
        failed: dict[int, PipelineError] = {}
        rows: list[ShardRow] = []
        of_source: Counter[str] = Counter()
        committed = self._tables.append_pages(self._staged(bodies, rows, failed, of_source))
        # Rows come after pages: a run whose row is there never looks emptier than it is for long.
        added = self._tables.append_shards(rows) if rows else 0
        for source, pages in of_source.items():
            self._metrics.of(source).add("pages_committed", pages)
        self._metrics.add("results_committed", committed.results)
        self._log.info(
            "committed",
            pages=committed.pages,
            results=committed.results,
            already=committed.already,
            shards=added,
            failed=len(failed),
        )
        return failed

    def _staged(
        self,
        bodies: Sequence[bytes],
        rows: list[ShardRow],
        failed: dict[int, PipelineError],
        of_source: Counter[str],
    ) -> Iterator[Staged]:
        """The staged batches one after another; shard rows go to ``rows``, what is bad to ``failed``.

        ``of_source`` counts the pages given.
        """
        for at, body in enumerate(bodies):
            try:
                key = _key(body)
                raw = self._storage.get(key)
                if keys.is_shard(key):
                    rows.append(decode_shard_row(raw))
                    continue
                staged = decode_staged(raw)
            except Malformed as error:
                failed[at] = Unreadable(f"staged object {key}: {error}", key=key)
            except PipelineError as error:
                failed[at] = error
            else:
                of_source[staged.header.batch.source] += staged.header.pages
                yield staged


def _key(body: bytes) -> str:
    try:
        key = _decoder.decode(body).key
    except msgspec.DecodeError as error:
        raise Permanent(f"a message of the results queue is no pointer: {error}") from error
    if not key.startswith(keys.STAGING):
        raise Permanent(f"{key!r} is no staged object: a pointer names one below {keys.STAGING}")
    return key
