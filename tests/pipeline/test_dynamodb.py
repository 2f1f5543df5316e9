"""DynamoDB's own facts: conditions, lost answers, reads that are fresh, items that others wrote."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto import mock_aws

from pipeline.errors import Misuse, StorageUnavailable
from pipeline.pacers import dynamodb
from pipeline.pacers.dynamodb import DynamoPaceStore
from stages.pace import PaceState

TABLE = "tests-pace"


def dynamo_client(**options: Any) -> Any:
    """A client that finds no credentials of this machine, with connections for many threads."""
    return boto3.client(
        "dynamodb",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106  # no secret
        config=Config(retries={"mode": "standard", "total_max_attempts": 3}, max_pool_connections=30),
        **options,
    )


def make_table(client: Any, name: str = TABLE) -> None:
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "source", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "source", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


class OneAtATime:
    """moto writes an item in steps and shows half of it; DynamoDB writes it in one."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self.meta = client.meta

    def get_item(self, **asked: Any) -> Any:
        with self._lock:
            return self._client.get_item(**asked)

    def update_item(self, **asked: Any) -> Any:
        with self._lock:
            return self._client.update_item(**asked)


@contextmanager
def pace_table() -> Iterator[Any]:
    """A client of an empty table, in this process."""
    with mock_aws():
        client = dynamo_client()
        make_table(client)
        yield OneAtATime(client)


@pytest.fixture
def client() -> Iterator[Any]:
    with pace_table() as made:
        yield made


def counted(state: PaceState) -> tuple[PaceState, int]:
    """One more lease, and how many there are then."""
    after = msgspec.structs.replace(state, leases=state.leases + 1)
    return after, after.leases


def stored(client: Any) -> Any:
    return client.get_item(TableName=TABLE, Key={"source": {"S": "engine"}}).get("Item")


def calls(client: Any) -> list[dict[str, Any]]:
    """What is asked from now on, as it is asked."""
    made: list[dict[str, Any]] = []

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        made.append({"operation": model.name, **params})

    client.meta.events.register("provide-client-params.dynamodb", note)
    return made


def test_changes_of_twenty_threads_are_all_there(client: Any):
    """Twenty holders, twenty changes each: every one is made on top of the one before, and told so."""
    store = DynamoPaceStore(client, TABLE)
    answers: list[int] = []
    barrier = threading.Barrier(20)

    def work() -> None:
        barrier.wait()
        answers.extend(store.change("engine", counted) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(1, 401))
    assert store.read("engine").leases == 400
    assert stored(client)["version"] == {"N": "400"}


def test_a_change_is_one_read_and_one_write_and_no_change_no_write(client: Any):
    """Reads are strongly consistent: a refusal a moment ago is seen."""
    store = DynamoPaceStore(client, TABLE)
    made = calls(client)
    store.change("engine", counted)
    assert [one["operation"] for one in made] == ["GetItem", "UpdateItem"]
    assert made[0]["ConsistentRead"] is True
    made.clear()
    assert store.change("engine", lambda state: (state, "same")) == "same"
    assert [one["operation"] for one in made] == ["GetItem"]
    assert stored(client)["version"] == {"N": "1"}


def overtaken(store: DynamoPaceStore, times: int) -> list[int]:
    """Make a change that others overtake so often; gives the states it was made from, by their leases."""
    seen: list[int] = []

    def how(state: PaceState) -> tuple[PaceState, None]:
        seen.append(state.leases)
        if len(seen) <= times:
            store.change("engine", counted)
        return msgspec.structs.replace(state, tat=5.0), None

    store.change("engine", how)
    return seen


@pytest.mark.parametrize("before", [0, 3])
def test_a_lost_race_is_run_again_on_the_newer_state(client: Any, before: int):
    """The failed condition brings the newer state along: no read is spent on it."""
    store = DynamoPaceStore(client, TABLE)
    for _ in range(before):
        store.change("engine", counted)
    made = calls(client)
    assert overtaken(store, 2) == [before, before + 1, before + 2]
    assert store.read("engine") == PaceState(tat=5.0, leases=before + 2)
    assert [one["operation"] for one in made].count("UpdateItem") == 5
    assert [one["operation"] for one in made[:-1]].count("GetItem") == 3


def test_a_server_that_brings_no_state_along_is_read_again(client: Any):
    """Not every server that speaks DynamoDB gives the item with the failed condition."""

    class Bare(OneAtATime):
        def update_item(self, **asked: Any) -> Any:
            try:
                return super().update_item(**asked)
            except ClientError as error:
                error.response.pop("Item", None)
                raise

    store = DynamoPaceStore(Bare(client), TABLE)
    assert overtaken(store, 2) == [0, 1, 2]
    lose_one_answer(client)
    assert store.change("engine", counted) == 3
    assert store.read("engine").leases == 3


def lose_one_answer(client: Any) -> None:
    """The first answer of a write does not reach the driver, which repeats the call."""
    lost: list[int] = []

    def forget(attempts: int, **_: Any) -> int | None:
        if lost:
            return None
        lost.append(attempts)
        return 0

    client.meta.events.register_first("needs-retry.dynamodb.UpdateItem", forget)


@pytest.mark.parametrize("before", [0, 1])
def test_a_write_whose_answer_was_lost_counts_once(client: Any, before: int):
    """The repeated write fails its condition, and finds that it is its own."""
    store = DynamoPaceStore(client, TABLE)
    for _ in range(before):
        store.change("engine", counted)
    lose_one_answer(client)
    asked: list[PaceState] = []

    def how(state: PaceState) -> tuple[PaceState, int]:
        asked.append(state)
        return counted(state)

    assert store.change("engine", how) == before + 1
    assert len(asked) == 1
    assert store.read("engine").leases == before + 1


def test_endless_races_end(monkeypatch: pytest.MonkeyPatch, client: Any):
    """A bounded number of tries, and a sentence."""
    monkeypatch.setattr(dynamodb, "TRIES", 5)
    store = DynamoPaceStore(client, TABLE)
    with pytest.raises(StorageUnavailable, match="5 changes of item engine of table tests-pace"):
        overtaken(store, 1_000_000)


def test_a_state_of_newer_code_is_read(client: Any):
    """A deploy in mid-run adds fields; older copies still see that a source is closed."""
    item = {"state": {"S": '{"closed_until": 9.5, "mood": "new"}'}, "version": {"N": "7"}}
    client._client.put_item(TableName=TABLE, Item={"source": {"S": "engine"}, "holder": {"S": "x"}, **item})
    store = DynamoPaceStore(client, TABLE)
    assert store.read("engine") == PaceState(closed_until=9.5)
    store.change("engine", counted)
    assert stored(client)["version"] == {"N": "8"}


@pytest.mark.parametrize(
    "item",
    [
        {"state": {"S": "{"}, "version": {"N": "1"}, "holder": {"S": "x"}},
        {"state": {"S": "{}"}, "holder": {"S": "x"}},
        {"state": {"N": "1"}, "version": {"N": "1"}, "holder": {"S": "x"}},
        {"state": {"S": "{}"}, "version": {"N": "1.5"}, "holder": {"S": "x"}},
    ],
)
def test_a_damaged_item_stops_instead_of_asking(client: Any, item: dict[str, Any]):
    """Where the pace cannot be known nothing is asked; the sentence names the item."""
    client._client.put_item(TableName=TABLE, Item={"source": {"S": "engine"}, **item})
    with pytest.raises(StorageUnavailable, match="item engine of table tests-pace"):
        DynamoPaceStore(client, TABLE).change("engine", counted)


@pytest.mark.parametrize("operation", ["get_item", "update_item"])
@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "AccessDeniedException"])
def test_a_table_that_does_not_answer_stops_instead_of_asking(operation: str, code: str):
    """No pacer, no request: the message waits and is tried again."""
    client = dynamo_client()
    with Stubber(client) as stub:
        if operation == "update_item":
            stub.add_response("get_item", {})
        stub.add_client_error(operation, code, http_status_code=400)
        with pytest.raises(StorageUnavailable, match="tests-pace"):
            DynamoPaceStore(client, TABLE).change("engine", counted)


def test_a_table_that_is_not_there_is_the_operators_to_mend():
    with mock_aws(), pytest.raises(Misuse, match="tests-pace does not exist"):
        DynamoPaceStore(dynamo_client(), TABLE).read("engine")
