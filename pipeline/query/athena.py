"""Queries in Athena: asked as statements of the workgroup, read a page at a time, stopped when left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from pipeline.athena_statements import USD_A_TB, AthenaStatements, Scanned, check, cost, new_token
from pipeline.errors import PipelineError
from pipeline.query.athena_rows import batches, kinds_of
from pipeline.query.engine import Answer

_CANCELLED = "query {} is cancelled in Athena; what it had read is billed"
_UNKNOWN = "Athena does not say whether it took the query: look among the workgroup's recent queries"

__all__ = ["USD_A_TB", "AthenaAnswer", "AthenaQuery", "Scanned", "cost"]


class AthenaAnswer(Answer):
    """The rows of one query in Athena, read once, a page at a time; ``scanned`` says what they cost."""

    def __init__(
        self, scanned: Scanned, first: Mapping[str, Any], pages: Iterator[Mapping[str, Any]]
    ) -> None:
        kinds = kinds_of(first)
        schema = pa.schema([pa.field(kind.column.name, kind.type) for kind in kinds])
        super().__init__(
            tuple(kind.column for kind in kinds),
            pa.RecordBatchReader.from_batches(schema, batches(kinds, pages)),
        )
        self.scanned = scanned


class AthenaQuery(AthenaStatements):
    """Queries in one workgroup over one database, with their answers."""

    def ask(self, sql: str) -> AthenaAnswer:
        """Run one statement to its end; its rows are read as they are asked for.

        Raises ``Misuse`` where the statement is wrong or reads more than the workgroup allows, and
        ``Unavailable`` where Athena could not run it. Whatever ends the waiting, Ctrl-C too, stops the
        query: nobody would read what it goes on to be billed for.
        """
        query_id = self._begun(sql)
        try:
            execution = self.waited(query_id, lambda: False)
        except KeyboardInterrupt as interruption:
            self.stop(query_id)
            raise KeyboardInterrupt(_CANCELLED.format(query_id)) from interruption
        except BaseException:
            self.stop(query_id)
            raise
        check(execution)
        pages = self._pages(query_id)
        first = next(pages)
        return AthenaAnswer(self.scanned(execution), first, _chained(first, pages))

    def _begun(self, sql: str) -> str:
        token = new_token()
        try:
            return self.start(sql, token)
        except KeyboardInterrupt as interruption:
            # Athena may have taken it. The same start once more tells the id, and starts no second query.
            try:
                query_id = self.start(sql, token)
            except PipelineError:
                raise KeyboardInterrupt(_UNKNOWN) from interruption
            self.stop(query_id)
            raise KeyboardInterrupt(_CANCELLED.format(query_id)) from interruption

    def _pages(self, query_id: str) -> Iterator[Mapping[str, Any]]:
        asked: dict[str, Any] = {"QueryExecutionId": query_id, "MaxResults": 1000}
        while True:
            page = self.patiently(lambda: self._client.get_query_results(**asked))
            yield page
            if not page.get("NextToken"):
                return
            asked["NextToken"] = page["NextToken"]


def _chained(first: Mapping[str, Any], rest: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    yield first
    yield from rest
