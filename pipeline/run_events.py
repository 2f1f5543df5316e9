"""The run-complete event on EventBridge, for whoever waits for the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from pipeline.aws_errors import error_of, translated
from pipeline.catalog import Ledger
from pipeline.errors import Unavailable
from stages.run import Run

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "serpline"
DETAIL_TYPE = "Run complete"


class BusEvents:
    """Events of one installation on one bus."""

    def __init__(self, client: EventBridgeClient, bus: str, name: str) -> None:
        self._client = client
        self._bus = bus
        self._name = name

    def complete(self, run: Run, ledger: Ledger) -> None:
        """Put the event. Raises ``Unavailable`` where the bus does not take it."""
        detail = {
            "name": self._name,
            "run_id": run.run_id,
            "file": run.name,
            "key": run.key,
            "run_date": run.run_date,
            "refused": run.refused,
            "tasks": sum(row.tasks for row in ledger.shards),
            "pages": {status: ledger.pages.get(status, 0) for status in ("ok", "refused", "failed")},
        }
        entry = {
            "Source": SOURCE,
            "DetailType": DETAIL_TYPE,
            "Detail": orjson.dumps(detail).decode(),
            "EventBusName": self._bus,
        }
        with translated(Unavailable, "EventBridge"):
            answer = self._client.put_events(Entries=[entry])  # type: ignore[list-item]
        if answer["FailedEntryCount"]:
            failed = answer["Entries"][0]
            raise error_of(
                failed.get("ErrorCode", ""), 500, failed.get("ErrorMessage", ""), Unavailable, "EventBridge"
            )
