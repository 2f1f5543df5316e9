"""The conduct function as its schedule calls it: lanes switched, the backlog released."""

from __future__ import annotations

import io
import json
import time
import zipfile
from typing import Any

import boto3
import msgspec
import pytest

from pipeline import keys
from pipeline.errors import Misuse, PipelineError
from pipeline.functions.conduct import open_conduct
from pipeline.functions.runtime import action_function
from pipeline.source_files import shipped_files
from stages.closings import noted
from stages.pace import PaceState
from stages.staged import decode_closing
from tests.lambdas.kit import (
    FETCH,
    OTHER,
    Account,
    Context,
    Said,
    batch_body,
    batches,
)
from tests.pipeline.aws import REGION
from tests.pipeline.kit import API, make_batch, make_run


def mapping_of(queue: str, lane: int) -> str:
    """The uuid of a lane's mapping of a queue of no messages: moto would run the function for each."""
    iam, functions = boto3.client("iam"), boto3.client("lambda")
    name = f"{queue}-{lane}"
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x.py", "")
    functions.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role,
        Handler="x.y",
        Code={"ZipFile": packed.getvalue()},
    )
    arn = f"arn:aws:sqs:{REGION}:123456789012:{queue}"
    return functions.create_event_source_mapping(FunctionName=name, EventSourceArn=arn, Enabled=True)["UUID"]


def working(*mappings: str) -> list[bool]:
    client = boto3.client("lambda")
    return [client.get_event_source_mapping(UUID=uuid)["State"] == "Enabled" for uuid in mappings]


def close_source(account: Account, source: str, seconds: float, *, untold: bool = False) -> None:
    now = time.time()
    state = PaceState(closed_since=now, closed_until=now + seconds, refusals=1, reason="captcha")
    if untold:
        state = noted(PaceState(), state, source, now)
    boto3.client("dynamodb").put_item(
        TableName="serpline-pace",
        Item={
            "source": {"S": source},
            "state": {"S": msgspec.json.encode(state).decode()},
            "version": {"N": "1"},
            "holder": {"S": "x"},
        },
    )
    assert account is not None


def test_conduct_switches_lanes_and_releases_the_backlog(account: Account, said: Said):
    """One lane of each source works; what waits goes to the queue as it has room; all is told by source."""
    lanes = [mapping_of("serpline-results", lane) for lane in range(2)]
    others = [mapping_of("serpline-results", 2)]
    account.set("MAPPINGS", json.dumps({API: lanes, OTHER: others}))
    account.set("HORIZON", "60")
    run = make_run("keywords/k.txt")
    folder = keys.backlog_of(API, run.created_at, run.run_id)
    body = batch_body(make_batch(["a", "b"])) + b"\n"
    account.storage.put(keys.backlog_chunk(folder, 0, 1, 2), body)
    close_source(account, OTHER, 3600.0)
    answer = action_function(open_conduct)({"action": "conduct"}, Context(60))
    assert working(*lanes) == [True, False]
    assert working(*others) == [False]
    assert (answer[API]["lane"], answer[API]["released"], answer[API]["backlog"]) == (0, 2, 0)
    assert (answer[OTHER]["working"], answer[OTHER]["closed"]) == (False, "captcha")
    assert batches(account.drawn(FETCH)) == [make_batch(["a", "b"])]
    assert list(account.storage.keys(keys.BACKLOG)) == []
    told = {line["source"]: line for line in map(json.loads, said()[0].splitlines()) if "source" in line}
    assert {source: line["closed"] for source, line in told.items()} == {API: 0, OTHER: 1}
    assert told[API]["backlog_tasks"] == 0
    assert told[API]["queue_depth"] == 1


def test_conduct_lets_one_sources_trouble_keep_no_other_waiting(account: Account, said: Said):
    """A mapping that is not there fails the function, after the others had their look."""
    lanes = [mapping_of("serpline-results", lane) for lane in range(2)]
    account.set("MAPPINGS", json.dumps({OTHER: ["00000000-0000-0000-0000-000000000000"], API: lanes}))
    with pytest.raises(PipelineError):
        action_function(open_conduct)({"action": "conduct"}, Context(60))
    assert working(*lanes) == [True, False]
    out, err = said()
    assert "source not conducted" in err
    assert API in out


def test_conduct_tells_what_a_function_closed_and_did_not_live_to_tell(account: Account, said: Said):
    """From the stored state: a staged row and its pointer, once however often it looks."""
    account.set("MAPPINGS", json.dumps({API: [mapping_of("serpline-results", 0)]}))
    close_source(account, API, 60.0, untold=True)
    for _ in range(2):
        action_function(open_conduct)({"action": "conduct"}, Context(60))
    [body] = account.drawn("serpline-results")
    row = decode_closing(account.storage.get(msgspec.json.decode(body)["key"]))
    assert (row.source, row.event, row.reason) == (API, "closed", "captcha")
    assert said()[1].count("source closed") == 1


@pytest.mark.parametrize("event", [{}, None, {"action": "dance"}, {"Records": []}, "conduct"])
def test_an_action_that_is_none_is_misuse_that_names_those_there_are(account: Account, event: Any):
    assert account is not None
    with pytest.raises(Misuse, match="an event with action conduct"):
        action_function(open_conduct)(event, Context())


def test_conduct_releases_no_more_than_a_quota_reaches(account: Account, said: Said):
    """The file in the bucket says how much a day: a quarter of that in six hours, whatever the rate is."""
    account.set("MAPPINGS", json.dumps({API: [mapping_of("serpline-results", 0)]}))
    text = shipped_files()[f"{API}.toml"][0]
    account.storage.put(
        keys.own_source(API), text.replace("[politeness]\n", "[politeness]\nquota = 40\n").encode()
    )
    run = make_run("keywords/k.txt")
    folder = keys.backlog_of(API, run.created_at, run.run_id)
    for number in range(1, 31):
        body = batch_body(make_batch(["a"], batch_no=number)) + b"\n"
        account.storage.put(keys.backlog_chunk(folder, 0, number, 1), body)
    answer = action_function(open_conduct)({"action": "conduct"}, Context(60))
    assert (answer[API]["released"], answer[API]["backlog"]) == (10, 20)
    assert said is not None


def store_pace(state: PaceState) -> None:
    item = {"state": {"S": msgspec.json.encode(state).decode()}, "version": {"N": "1"}, "holder": {"S": "x"}}
    boto3.client("dynamodb").put_item(TableName="serpline-pace", Item={"source": {"S": API}, **item})


def test_conduct_sees_a_quota_that_was_raised_in_the_bucket(account: Account, said: Said):
    """At its next look, warm as it is: the day need not end."""
    account.set("MAPPINGS", json.dumps({API: [mapping_of("serpline-results", 0)]}))
    text = shipped_files()[f"{API}.toml"][0]
    store_pace(PaceState(quota_used=10, spent_until=time.time() + 40_000))
    act = action_function(open_conduct)
    for quota, works in ((10, False), (20, True)):
        file = text.replace("[politeness]\n", f"[politeness]\nquota = {quota}\n")
        account.storage.put(keys.own_source(API), file.encode())
        assert act({"action": "conduct"}, Context(60))[API]["working"] is works
    assert said is not None


def test_conduct_lets_no_lane_take_over_before_it_has_rested(account: Account, said: Said):
    """The minutes are those of the settings."""
    lanes = [mapping_of("serpline-results", lane) for lane in range(2)]
    account.set("MAPPINGS", json.dumps({API: lanes}))
    account.set("LANE_MINUTES", "10")
    account.set("LANE_REST_MINUTES", "30")
    now = time.time()
    act = action_function(open_conduct)
    for rested, lane in ((29, 0), (31, 1)):
        boto3.client("lambda").update_event_source_mapping(UUID=lanes[1], Enabled=False)
        turn = {"lane": 0, "since": now - 3_600, "ceased": {"1": now - rested * 60}}
        account.storage.put(keys.conduct(API), json.dumps(turn).encode())
        assert act({"action": "conduct"}, Context(60))[API]["lane"] == lane
    assert said is not None
