"""Pace states in DynamoDB: one rate for all functions and workers of an account.

An item is ``source``, ``state`` (JSON), ``version`` (how many changes it had) and ``holder``, a token of
its last write. A change is stored only if the version is still the one it was made from; otherwise it is
made again from the newer state. No lock is held while anybody thinks, and no item ever expires.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
from botocore.exceptions import ClientError

from pipeline.aws_errors import code_of, translated
from pipeline.errors import StorageUnavailable
from stages.pace import PaceState

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import UpdateItemInputTypeDef

_Answer = TypeVar("_Answer")
_decoder = msgspec.json.Decoder(PaceState)

TRIES = 200
"""Lost races before a change is given up: with a hundred holders a few are usual."""

PAUSE = 0.1
"""Seconds that the loser of many races waits at most before the next."""


class _Stored(msgspec.Struct, frozen=True):
    """An item as it was read; version 0 is none."""

    version: int
    state: PaceState
    holder: str


class DynamoPaceStore:
    """States as items of one table, by source; safe for threads and processes."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self, source: str) -> PaceState:
        """The state now: of a strongly consistent read, so a refusal is seen as soon as it is stored."""
        return self._read(source).state

    def change(self, source: str, how: Callable[[PaceState], tuple[PaceState, _Answer]]) -> _Answer:
        """Replace the state by what ``how`` makes of it; ``how`` is called again after a lost race.

        A write whose answer was lost is repeated by the driver, and then its condition fails although it was
        stored: the item bears its token. If others wrote in between, the change is made a second time, which
        costs slots and never adds any: every change of a pacer's is one that may be repeated.
        """
        before = self._read(source)
        for attempt in range(TRIES):
            after, answer = how(before.state)
            if after == before.state:
                return answer
            token = uuid.uuid4().hex
            found = self._write(source, before.version, after, token)
            if found is None or found.holder == token:
                return answer
            before = found
            time.sleep(random.uniform(0, min(PAUSE, 0.005 * 2 ** min(attempt, 8))))  # noqa: S311  # spreads
        raise StorageUnavailable(
            f"{TRIES} changes of {self._name(source)} in a row lost to others; try again"
        )

    def _read(self, source: str) -> _Stored:
        with translated(StorageUnavailable, f"the table {self._table}"):
            answer = self._client.get_item(
                TableName=self._table, Key={"source": {"S": source}}, ConsistentRead=True
            )
        return self._decoded(source, answer.get("Item"))

    def _write(self, source: str, version: int, state: PaceState, token: str) -> _Stored | None:
        """Store a state over that version; None, or what was found there instead."""
        asked: UpdateItemInputTypeDef = {
            "TableName": self._table,
            "Key": {"source": {"S": source}},
            "UpdateExpression": "SET #state = :state, #version = :next, #holder = :holder",
            "ConditionExpression": "#version = :version" if version else "attribute_not_exists(#version)",
            "ExpressionAttributeNames": {"#state": "state", "#version": "version", "#holder": "holder"},
            "ExpressionAttributeValues": {
                ":state": {"S": msgspec.json.encode(state).decode()},
                ":next": {"N": str(version + 1)},
                ":holder": {"S": token},
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if version:
            asked["ExpressionAttributeValues"] = {
                **asked["ExpressionAttributeValues"],
                ":version": {"N": str(version)},
            }
        with translated(StorageUnavailable, f"the table {self._table}"):
            try:
                self._client.update_item(**asked)
            except ClientError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
                item = cast("Mapping[str, Any] | None", error.response.get("Item"))
            else:
                return None
        return self._decoded(source, item) if item else self._read(source)

    def _decoded(self, source: str, item: Mapping[str, Any] | None) -> _Stored:
        if item is None:
            return _Stored(0, PaceState(), "")
        try:
            state = _decoder.decode(item["state"]["S"])
            return _Stored(int(item["version"]["N"]), state, item["holder"]["S"])
        except (KeyError, ValueError, msgspec.DecodeError) as error:
            raise StorageUnavailable(
                f"the pace in {self._name(source)} cannot be read ({error!r}): remove it if it is damaged"
            ) from error

    def _name(self, source: str) -> str:
        return f"item {source} of table {self._table}"
