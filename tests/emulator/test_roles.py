"""Each function's role is enough and no more: what it may do beside what it did, in this whole suite."""

from __future__ import annotations

import re
import time
from collections import defaultdict

import msgspec
import pytest

from pipeline import keys
from pipeline.run_control import say
from pipeline.storage.s3 import S3Storage
from stages.pace import PaceState
from stages.records import Batch, Closing, Task
from tests.emulator.policies import grants_of, missing, unused
from tests.emulator.recording import RecordedCall
from tests.emulator.system import System
from tests.emulator.work import as_csv, keywords, send
from tests.pipeline.kit import make_run

pytestmark = pytest.mark.timeout(240)

# Grants that nothing here uses, with why they are there: (function, action, resource), as patterns.
EXCUSED = (
    (
        r".*",
        r"logs:.*|xray:.*",
        r".*",
        "Lambda writes logs and traces in the function's name, not through its calls",
    ),
    (
        r".*",
        r"sqs:(ReceiveMessage|DeleteMessage|GetQueueAttributes|ChangeMessageVisibility|GetQueueUrl)",
        r".*",
        "the mapping receives and deletes in the function's name",
    ),
    (r".*", r"s3:ListBucket", r".*", "without it S3 answers 403 for what is not there"),
    (
        r"aggregate|compact",
        r"s3:DeleteObject",
        r".*/tables/\*",
        "old metadata and lost attempts go after many commits only",
    ),
    (r"fetch-.*", r"s3:.*", r".*/robots/\*", "the practice engine is not asked for its robots.txt"),
    (
        r"compact",
        r"glue:.*",
        r".*",
        "one statement names what is done to database and tables; some is done at destroy",
    ),
    (
        r"conduct",
        r"lambda:UpdateEventSourceMapping",
        r".*",
        "a single lane is switched where its source is closed long",
    ),
    (r"shard", r"sqs:SendMessage", r".*-keywords", "the parts of a file of more than ten million lines"),
)


def functions_calls(system: System) -> dict[str, list[RecordedCall]]:
    found: dict[str, list[RecordedCall]] = defaultdict(list)
    for call in system.recording.calls():
        if call.function.startswith(f"{system.name}-"):
            found[call.function].append(call)
    return found


@pytest.fixture(scope="module")
def calls(deployed: System) -> dict[str, list[RecordedCall]]:
    """All calls of the suite, after one more round of everything that functions do."""
    deployed.clear()
    deployed.client("s3").put_object(Bucket=deployed.bucket, Key="lists/roles.csv", Body=as_csv(["role"]))
    send(deployed, "keywords", '{"key": "lists/roles.csv", "drop": "2026-02-01"}', '{"keywords": ["part"]}')
    send(deployed, "results", "no pointer")
    send(deployed, "fetch-practice_page", "no batch")
    say(storage_of(deployed), "paused-run", "paused", 0.0)
    # Without a record it has no backlog, and its batches wait in the queue.
    say(storage_of(deployed), "lost-run", "paused", 0.0)
    record = make_run("keywords/paused.csv", run_id="paused-run")
    storage_of(deployed).put(keys.run("paused-run"), msgspec.json.encode(record))
    send(deployed, "keywords", "no json")
    for paused in ("paused-run", "lost-run"):
        send(deployed, "fetch-practice_page", batch_of(paused, "practice_page"))
    run = deployed.drop(
        "keywords/source=practice_page/roles.csv", as_csv([*keywords(800, "play"), "", "\x00bad"])
    )
    wait(deployed, run)
    untold(deployed)
    for lane in ("0", "1"):
        deployed.client("s3").put_object(
            Bucket=deployed.bucket,
            Key="conduct/practice_api.json",
            Body=b'{"lane":' + lane.encode() + b',"since":0}',
        )
        deployed.invoke("conduct", {"action": "conduct"})
        paused = [batch_of(run_id, "practice_api") for run_id in ("paused-run", "lost-run")]
        send(deployed, "fetch-practice_api", "no batch", *paused)
        drop = deployed.drop(f"keywords/lane {lane}.csv", as_csv(keywords(3, f"take lane {lane}")))
        wait(deployed, drop)
        # What the backlog gives out again was staged long ago.
        chunk = keys.backlog_chunk(keys.backlog_of("practice_api", 0, drop), 0, 1, 3)
        storage_of(deployed).put(chunk, batch_of(drop, "practice_api").encode())
    deployed.invoke("compact", {"action": "compact"})
    deployed.clear()
    for source in ("practice_api", "practice_page"):
        for key in storage_of(deployed).keys(keys.backlog_of(source, record.created_at, record.run_id)):
            deployed.client("s3").delete_object(Bucket=deployed.bucket, Key=key)
    return functions_calls(deployed)


def untold(system: System) -> None:
    """A closing that some function did not live to tell: ``conduct`` tells it."""
    event = Closing(
        id="of a dead function",
        source="practice_api",
        event="reopened",
        happened_at=time.time(),
        closed_since=time.time() - 60,
    )
    item = {"state": {"S": msgspec.json.encode(PaceState(untold=(event,))).decode()}}
    system.client("dynamodb").put_item(
        TableName=f"{system.name}-pace",
        Item={"source": {"S": "practice_api"}, "version": {"N": "1"}, "holder": {"S": "x"}, **item},
    )


def wait(system: System, run: str) -> None:
    """Return when a run is complete; messages of the paused one stay under way."""
    until = time.monotonic() + 90
    while not system.is_complete(run) and time.monotonic() < until:
        time.sleep(1)
        for stage, action in (("conduct", "conduct"), ("compact", "ledger")):
            system.invoke(stage, {"action": action})
    assert system.is_complete(run), system.complaints()


def batch_of(run_id: str, source: str) -> str:
    """A message of a fetch queue."""
    batch = Batch(run_id, "2026-02-01", 0, 1, source, "en", "desktop", (Task("what a role may"),))
    return msgspec.json.encode(batch).decode()


def storage_of(system: System) -> S3Storage:
    return S3Storage(system.client("s3"), system.bucket)


def test_every_call_is_allowed(deployed: System, calls: dict[str, list[RecordedCall]]):
    """By its function's own policy, on the resource it was made on."""
    grants = grants_of(deployed)
    assert set(calls) == set(grants)
    refused = {
        f"{function}: {lacking}"
        for function, made in calls.items()
        for call in made
        for lacking in missing(grants[function], call)
    }
    assert not refused, "\n".join(sorted(refused))


def test_every_grant_is_used(deployed: System, calls: dict[str, list[RecordedCall]]):
    """But for those that are listed with a reason."""
    left = {
        (function.removeprefix(f"{deployed.name}-"), *grant)
        for function, grants in grants_of(deployed).items()
        for grant in unused(grants, calls[function])
    }
    unexplained = {one for one in left if not any(excuses(excuse, *one) for excuse in EXCUSED)}
    assert not unexplained, "\n".join(map(str, sorted(unexplained)))


def excuses(excuse: tuple[str, str, str, str], function: str, action: str, resource: str) -> bool:
    patterns = zip(excuse, (function, action, resource), strict=False)
    return all(re.fullmatch(pattern, said) for pattern, said in patterns)
