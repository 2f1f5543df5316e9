"""A stand-in for boto3's Athena client: one query's states and pages, in the order that a test gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import boto3


def client(region: str = "eu-central-1") -> Any:
    """boto3's own client, with credentials that are none."""
    words = {f"aws_{name}": "testing" for name in ("access_key_id", "secret_access_key")}
    return boto3.client("athena", region_name=region, **words)


_EXCEPTIONS = client().exceptions

QUERY_ID = "11111111-2222-3333-4444-555555555555"


def refused(message: str, operation: str = "StartQueryExecution") -> Exception:
    """What boto3 raises where Athena does not take a call."""
    told = {"Error": {"Code": "InvalidRequestException", "Message": message}}
    return _EXCEPTIONS.InvalidRequestException(told, operation)


def state(name: str, *, read: int = 0, kind: str = "DML", **status: Any) -> dict[str, Any]:
    """What GetQueryExecution says of a query."""
    return {
        "QueryExecutionId": QUERY_ID,
        "StatementType": kind,
        "Status": {"State": name, **status},
        "Statistics": {"DataScannedInBytes": read, "TotalExecutionTimeInMillis": 1500},
    }


def page(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str | None]], token: str = "") -> Any:
    """A page of GetQueryResults; None is NULL."""
    data = [{"Data": [{} if value is None else {"VarCharValue": value} for value in row]} for row in rows]
    metadata = {"ColumnInfo": [{"Name": name, "Label": name, "Type": kind} for name, kind in columns]}
    told = {"ResultSet": {"Rows": data, "ResultSetMetadata": metadata}}
    return {**told, "NextToken": token} if token else told


class FakeAthena:
    """Answers each call with the next of what it was given; an exception among it is raised."""

    exceptions = _EXCEPTIONS

    def __init__(
        self, states: Sequence[Any] = (), pages: Sequence[Any] = (), start: Sequence[Any] = ()
    ) -> None:
        self.states, self.pages, self.start = list(states), list(pages), list(start)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.slept: list[float] = []
        self.now = 0.0

    @property
    def calls(self) -> list[str]:
        """The names of the calls."""
        return [name for name, _ in self.asked]

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now

    def start_query_execution(self, **asked: Any) -> Any:
        self.asked.append(("start", asked))
        if self.start:
            _raised(self.start)
        return {"QueryExecutionId": QUERY_ID}

    def get_query_execution(self, **asked: Any) -> Any:
        self.asked.append(("look", asked))
        return {"QueryExecution": _raised(self.states)}

    def get_query_results(self, **asked: Any) -> Any:
        self.asked.append(("read", asked))
        return _raised(self.pages)

    def stop_query_execution(self, **asked: Any) -> Any:
        self.asked.append(("stop", asked))
        return {}

    def clients(self) -> Any:
        """What ``aws_clients`` gives, with this as Athena."""
        return SimpleNamespace(athena=self)


class FakeWorkgroup:
    """A workgroup that runs whole statements: each looks ``slow`` times as if it ran, then ends.

    ``ends`` gives, for a statement, the reasons for which it fails one after the other; then it succeeds.
    ``happens`` is called with each statement that ends well.
    """

    exceptions = _EXCEPTIONS

    def __init__(
        self,
        ends: Callable[[str], Sequence[str]] = lambda _statement: (),
        happens: Callable[[str], None] = lambda _statement: None,
        slow: int = 1,
    ) -> None:
        self.ran: list[str] = []
        self.workgroups: set[str] = set()
        self.happens = happens
        self.now = 0.0
        self._ends = ends
        self._slow = slow
        self._left: dict[str, list[str]] = {}
        self._known: list[dict[str, Any]] = []
        self._looks: dict[str, int] = {}

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now

    def start_query_execution(self, **asked: Any) -> Any:
        sql, query_id = asked["QueryString"], f"query-{len(self._known)}"
        self.ran.append(sql)
        self.workgroups.add(asked["WorkGroup"])
        self._known.append({**state("RUNNING", read=10 << 20), "QueryExecutionId": query_id, "Query": sql})
        self._looks[query_id] = self._slow
        return {"QueryExecutionId": query_id}

    def get_query_execution(self, **asked: Any) -> Any:
        known = next(one for one in self._known if one["QueryExecutionId"] == asked["QueryExecutionId"])
        left = self._looks[known["QueryExecutionId"]]
        self._looks[known["QueryExecutionId"]] = left - 1
        if left == 0:
            reasons = self._left.setdefault(known["Query"], list(self._ends(known["Query"])))
            known["Status"] = {"State": "SUCCEEDED"}
            if reasons:
                known["Status"] = {"State": "FAILED", "StateChangeReason": reasons.pop(0)}
            else:
                self.happens(known["Query"])
        return {"QueryExecution": known}

    def list_query_executions(self, **asked: Any) -> Any:
        newest = [one["QueryExecutionId"] for one in reversed(self._known)]
        return {"QueryExecutionIds": newest[: asked["MaxResults"]]}

    def batch_get_query_execution(self, **asked: Any) -> Any:
        wanted = asked["QueryExecutionIds"]
        return {"QueryExecutions": [one for one in self._known if one["QueryExecutionId"] in wanted]}

    def clients(self) -> Any:
        """What ``aws_clients`` gives, with this as Athena."""
        return SimpleNamespace(athena=self)


def _raised(given: list[Any]) -> Any:
    # The last one stands for all that follow.
    one = given.pop(0) if len(given) > 1 else given[0]
    if isinstance(one, BaseException):
        raise one
    return one
