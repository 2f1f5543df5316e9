"""Statements in Athena: started in a workgroup, waited for, stopped, billed, and told where they fail.

Nothing here needs what reads their rows: the functions carry this, and no SQL engine.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from pipeline.aws_errors import translated
from pipeline.errors import Misuse, PipelineError, Unavailable

USD_A_TB = 5.0
"""What Athena asks for a terabyte read, in most regions."""

LEAST_BYTES = 10 << 20
"""Billed for a query that reads less."""

_TB = 1 << 40
_MB = 1 << 20
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
PATIENCE = 30.0
"""Seconds for which Athena may not answer while a query runs there."""

_USER = 2
"""Athena's category of errors that the query is to blame for; 1 is Athena itself, 3 neither."""

_PLACE = re.compile(r"\bline \d+:\d+:")
_OF_SQL = re.compile(
    r"^(?:[A-Z]+_)*(?:SYNTAX_ERROR|NOT_FOUND|MISMATCH|NOT_SUPPORTED|INVALID_\w+|DIVISION_BY_ZERO|AMBIGUOUS_\w+|"
    r"\w*_OUT_OF_RANGE|EXPRESSION_NOT_\w+|MISSING_\w+|DUPLICATE_\w+|TOO_MANY_\w+|EXCEEDED_\w+|VIEW_IS_\w+)\b"
)
_NOISE = re.compile(
    r"\s*(?:This query ran against the|\[Execution ID:|Please post the error message).*", re.DOTALL
)
_ENDS = ("SUCCEEDED", "FAILED", "CANCELLED")
_CUTOFF = "Bytes scanned limit"

_Made = TypeVar("_Made")


class Scanned(msgspec.Struct, frozen=True):
    """What a query read, for how many seconds it ran, and what Athena asks for it in US dollars."""

    query_id: str
    bytes: int
    seconds: float
    cost: float


class AthenaStatements:
    """Statements in one workgroup over one database; ``client`` is boto3's.

    ``usd_a_tb`` is what the region asks. ``told`` hears, while a query runs, its state, the bytes read
    so far and the seconds since it was started.
    """

    def __init__(
        self,
        client: Any,
        workgroup: str,
        database: str,
        *,
        usd_a_tb: float = USD_A_TB,
        told: Callable[[str, int, float], None] = lambda _state, _bytes, _seconds: None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._workgroup = workgroup
        self._database = database
        self._usd_a_tb = usd_a_tb
        self._told = told
        self._sleep = sleep
        self._clock = clock

    def start(self, sql: str, token: str = "") -> str:
        """Start one statement and give its id. Raises as ``ask``; whoever starts it sees to its end.

        With the ``token`` of an earlier start of the same statement it starts nothing: it gives that id.
        """
        with self._athena():
            started = self._client.start_query_execution(
                QueryString=sql,
                # The same for each of boto3's own tries: a lost reply starts no second query.
                ClientRequestToken=token if token else new_token(),
                QueryExecutionContext={"Catalog": "AwsDataCatalog", "Database": self._database},
                WorkGroup=self._workgroup,
            )
        return str(started["QueryExecutionId"])

    def under_way(self) -> list[Mapping[str, Any]]:
        """The statements of the workgroup that have not ended, as Athena describes them, oldest first.

        It looks at the fifty that were started last.
        """
        asked = {"WorkGroup": self._workgroup, "MaxResults": 50}
        found = self.patiently(lambda: self._client.list_query_executions(**asked))["QueryExecutionIds"]
        if not found:
            return []
        told = self.patiently(lambda: self._client.batch_get_query_execution(QueryExecutionIds=found))
        by_id = {one["QueryExecutionId"]: one for one in told["QueryExecutions"] if not has_ended(one)}
        return [by_id[query_id] for query_id in reversed(found) if query_id in by_id]

    def waited(self, query_id: str, late: Callable[[], bool]) -> Mapping[str, Any]:
        """A statement as Athena describes it, when it has ended or when it is late; it runs on then."""
        begun = self._clock()
        pause = FIRST_PAUSE
        while True:
            told = self.patiently(lambda: self._client.get_query_execution(QueryExecutionId=query_id))
            execution: Mapping[str, Any] = told["QueryExecution"]
            if has_ended(execution) or late():
                return execution
            self._told(execution["Status"]["State"], _bytes(execution), self._clock() - begun)
            self._sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def scanned(self, execution: Mapping[str, Any]) -> Scanned:
        """What a statement read and cost, as Athena describes it."""
        statistics = execution.get("Statistics", {})
        reused = statistics.get("ResultReuseInformation", {}).get("ReusedPreviousResult", False)
        # DDL, SHOW, DESCRIBE and EXPLAIN are free, and so is an answer that Athena still had.
        free = reused or execution.get("StatementType", "DML") != "DML"
        read = _bytes(execution)
        return Scanned(
            query_id=execution["QueryExecutionId"],
            bytes=read,
            seconds=statistics.get("TotalExecutionTimeInMillis", 0) / 1000,
            cost=0.0 if free else cost(read, self._usd_a_tb),
        )

    def stop(self, query_id: str) -> None:
        """End a statement, as far as it can be."""
        # What ended the waiting is what is told; a query that cannot be stopped runs into its cutoff.
        with suppress(PipelineError), self._athena():
            self._client.stop_query_execution(QueryExecutionId=query_id)

    def patiently(self, call: Callable[[], _Made]) -> _Made:
        """A call about a query that runs already: worth more than one busy moment of Athena's."""
        until = self._clock() + PATIENCE
        pause = FIRST_PAUSE
        while True:
            try:
                with self._athena():
                    return call()
            except Unavailable:
                if self._clock() >= until:
                    raise
            self._sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    @contextmanager
    def _athena(self) -> Iterator[None]:
        with translated(Unavailable, f"Athena workgroup {self._workgroup}"):
            try:
                yield
            except self._client.exceptions.InvalidRequestException as error:
                said = error.response.get("Error", {}).get("Message", "") or str(error)
                raise Misuse(self._refused(_sentence(said))) from error

    def _refused(self, said: str) -> str:
        if "workgroup" in said.lower():
            return f"{said}: is {self._workgroup}, from SERPLINE_NAME, the name of `terraform apply`?"
        return f"Athena does not take the query: {said}"


def new_token() -> str:
    """What tells one start of a statement from another one of the same."""
    return uuid4().hex


def cost(read: int, usd_a_tb: float = USD_A_TB) -> float:
    """US dollars for a query that read so many bytes: whole megabytes, and ten of them at least."""
    return max(LEAST_BYTES, math.ceil(read / _MB) * _MB) / _TB * usd_a_tb


def has_ended(execution: Mapping[str, Any]) -> bool:
    """Whether a statement has ended, however it did."""
    return execution["Status"]["State"] in _ENDS


def why_failed(execution: Mapping[str, Any]) -> str:
    """What Athena says of a statement that ended otherwise than well; empty for one that ended well."""
    return "" if execution["Status"]["State"] == "SUCCEEDED" else _reason(execution["Status"])


def _bytes(execution: Mapping[str, Any]) -> int:
    return int(execution.get("Statistics", {}).get("DataScannedInBytes", 0))


def check(execution: Mapping[str, Any]) -> None:
    """Raises ``Misuse`` or ``Unavailable`` for a statement that ended otherwise than well."""
    status, query_id = execution["Status"], execution["QueryExecutionId"]
    if status["State"] == "SUCCEEDED":
        return
    error = status.get("AthenaError", {})
    said = _reason(status)
    if _CUTOFF in said:
        raise Misuse(
            "the query would read more than the workgroup allows, and was stopped: "
            "narrow it by run_date and source"
        )
    if status["State"] == "CANCELLED":
        raise Unavailable(f"query {query_id} was cancelled in Athena ({said}): ask again")
    blamed = error.get("ErrorCategory")
    if blamed == _USER or (blamed != 1 and (_OF_SQL.search(said) or _PLACE.search(said))):
        raise Misuse(f"the query does not work: {said}")
    raise Unavailable(f"Athena could not run query {query_id} ({said}): ask again in a moment")


def _reason(status: Mapping[str, Any]) -> str:
    error = status.get("AthenaError", {})
    return _sentence(status.get("StateChangeReason") or error.get("ErrorMessage") or "Athena gives no reason")


def _sentence(text: str) -> str:
    return " ".join(_NOISE.sub("", text).split()).rstrip(".")
