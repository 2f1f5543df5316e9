"""Five thousand keywords in four files at once: as they should, on a bad day, and told of twice."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.emulator.faults import outage, reset, throttle
from tests.emulator.recording import RecordedCall
from tests.emulator.system import System
from tests.emulator.tools import BUILD
from tests.emulator.work import (
    arrivals,
    as_csv,
    assert_whole,
    drop_at_once,
    keywords,
    notification,
    pages_of,
    send,
    times_asked,
)

pytestmark = pytest.mark.timeout(400)

TASKS = 5_000
WORDS = keywords(TASKS, "copy")
FILES = {f"file {number}.csv": as_csv(WORDS[number::4]) for number in range(4)}

Plain = tuple[list[tuple[str, str, str, int]], list[RecordedCall]]

BAD_DAY = [
    *(
        throttle(service, operation, probability=0.02)
        for service, operation in (
            ("s3", "PutObject"),
            ("s3", "GetObject"),
            ("sqs", "SendMessageBatch"),
            ("sqs", "SendMessage"),
            ("dynamodb", "UpdateItem"),
            ("dynamodb", "GetItem"),
            ("glue", "GetTable"),
            ("glue", "UpdateTable"),
        )
    ),
    *(
        what(service, operation, probability=0.01)
        for what in (outage, reset)
        for service, operation in (
            ("s3", "PutObject"),
            ("s3", "GetObject"),
            ("s3", "HeadObject"),
            ("s3", "ListObjectsV2"),
            ("sqs", "SendMessageBatch"),
            ("dynamodb", "UpdateItem"),
            ("glue", "GetTable"),
            ("glue", "UpdateTable"),
        )
    ),
]
LOST = [
    ("s3", "PutObject", 0.05),
    ("s3", "DeleteObject", 0.05),
    ("sqs", "SendMessageBatch", 0.05),
    ("sqs", "SendMessage", 0.05),
    ("dynamodb", "UpdateItem", 0.03),
    ("glue", "UpdateTable", 0.1),
]


def in_folder(name: str) -> dict[str, bytes]:
    return {f"keywords/{name}/{file}": body for file, body in FILES.items()}


@pytest.fixture(scope="module")
def plain(deployed: System) -> Plain:
    """The rows of an ordinary day, and the calls that were made for them."""
    deployed.clear()
    since = deployed.recording.mark()
    runs = drop_at_once(deployed, in_folder("plain"))
    deployed.wait_until_complete(runs, within=200)
    calls = deployed.recording.calls(since)
    assert_whole(deployed, runs, WORDS)
    assert times_asked(deployed, WORDS) == Counter(WORDS)
    return pages_of(deployed, runs), calls


def test_every_task_is_once_in_the_table(plain: Plain):
    """Four files at once: each keyword asked once, each a page with its results."""
    rows, _ = plain
    assert {row[1] for row in rows} == {"ok"}
    assert min(row[3] for row in rows) > 0


def test_a_bad_day_gives_the_same_table(system: System, plain: Plain):
    """Throttles, errors, resets, lost answers on S3, SQS, DynamoDB and Glue: no row more, less or other."""
    with system.disturbed(*BAD_DAY, lost=LOST) as faults:
        since = system.recording.mark()
        runs = drop_at_once(system, in_folder("disturbed"))
        system.wait_until_complete(runs, within=300)
        fired = faults.fired()
        calls = system.recording.calls(since)
    assert {call.service for call in calls if call.lost} >= {"s3", "sqs", "dynamodb"}
    assert len(fired) > 30
    assert_whole(system, runs, WORDS)
    assert pages_of(system, runs) == plain[0]


def test_events_delivered_twice_and_out_of_order_change_nothing(system: System, plain: Plain):
    """What is told again is the same run: the same rows. Told again when it was done, nothing is asked.

    Two deliveries at the same moment may ask twice: neither finds what the other is about to stage.
    """
    before = len(arrivals(system))
    runs = drop_at_once(system, in_folder("repeated"))
    versions = system.client("s3").list_object_versions(Bucket=system.bucket, Prefix="keywords/repeated/")
    again = [
        notification(system.bucket, one["Key"], one["VersionId"]) for one in reversed(versions["Versions"])
    ]
    send(system, "keywords", *again)
    system.wait_until_complete(runs, within=200)
    asked = len(arrivals(system))
    assert asked - before <= 2 * TASKS
    send(system, "keywords", *again[::2], *again[1::2])
    system.wait_until_quiet()
    assert_whole(system, runs, WORDS)
    assert pages_of(system, runs) == plain[0]
    assert len(arrivals(system)) == asked


# Calls for 1,000 tasks of an ordinary day at 100 tasks a batch, with room for the deliveries' luck. What
# mappings do by themselves (receiving, deleting) passes by no recorder. The emulator hands aggregate at most
# 10 pointers where SQS hands it a minute's: it commits, and reads what is there, several times as often here.
MOST_PER_1000 = {
    "asking": {
        # Where a busy machine lets slots pass, what is left of a batch takes one lease more.
        "dynamodb:GetItem": 60,
        "dynamodb:UpdateItem": 40,
        "s3:GetObject": 30,
        "s3:HeadObject": 3,
        "s3:PutObject": 20,
        "sqs:GetQueueAttributes": 2,
        "sqs:GetQueueUrl": 4,
        "sqs:SendMessageBatch": 17,
    },
    "committing": {
        "dynamodb:GetItem": 6,
        "events:PutEvents": 2,
        "glue:GetTable": 60,
        "glue:UpdateTable": 20,
        "lambda:GetEventSourceMapping": 10,
        "lambda:UpdateEventSourceMapping": 2,
        "s3:DeleteObject": 40,
        "s3:GetObject": 1200,
        "s3:HeadObject": 1200,
        "s3:ListObjectsV2": 8,
        "s3:PutObject": 120,
        "sqs:GetQueueAttributes": 12,
        "sqs:GetQueueUrl": 2,
        "sqs:SendMessageBatch": 6,
    },
}


def test_calls_of_aws_stay_few(plain: Plain):
    """What 1,000 tasks cost in calls, by service and operation; written to ``build/aws_calls.json``."""
    counts: dict[str, Counter[str]] = {"asking": Counter(), "committing": Counter()}
    stages: Counter[str] = Counter()
    for call in plain[1]:
        name = f"{call.service}:{call.operation}"
        stage = call.function.removeprefix("serpline-test-")
        counts["asking" if stage == "shard" or stage.startswith("fetch-") else "committing"][name] += 1
        stages[f"{stage} {name}"] += 1
    per_1000 = {
        part: {name: round(count * 1000 / TASKS, 2) for name, count in sorted(of_part.items())}
        for part, of_part in counts.items()
    }
    told = {"tasks": TASKS, "batch": 100, "per_1000_tasks": per_1000, "calls": dict(sorted(stages.items()))}
    (BUILD / "aws_calls.json").write_text(json.dumps(told, indent=2) + "\n")
    over = {
        f"{part} {name}": count
        for part, of_part in per_1000.items()
        for name, count in of_part.items()
        if count > MOST_PER_1000[part].get(name, 0)
    }
    assert not over
