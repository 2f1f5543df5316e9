"""What tests of the whole system give it to do, and what they then ask of it."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote_plus

from tests.emulator.system import System

HORIZON = 15
"""Seconds of work that a queue may hold here; the rest of a run waits in the backlog."""
LANE_REST = 6.0
"""Seconds that a lane rests here at least."""
SLOW_RATE = 50
"""Requests a second that ``practice_page`` may be asked."""


def keywords(count: int, word: str) -> list[str]:
    """So many keywords of one kind."""
    return [f"how to {word} a file {number}" for number in range(count)]


def as_csv(words: Sequence[str]) -> bytes:
    """A keyword file of them."""
    return "\n".join(["keyword", *words, ""]).encode()


def drop_at_once(system: System, files: Mapping[str, bytes]) -> list[str]:
    """Put files into the bucket at the same time; gives the ids of their runs."""
    with ThreadPoolExecutor(len(files)) as pool:
        return list(pool.map(system.drop, files, files.values()))


def notification(bucket: str, key: str, version: str, event: str = "ObjectCreated:Put") -> str:
    """What S3 sends of an object."""
    entry = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": event,
        "s3": {
            "bucket": {"name": bucket},
            "object": {"key": quote_plus(key, safe="/"), "size": 1, "versionId": version},
        },
    }
    return json.dumps({"Records": [entry]})


def send(system: System, queue: str, *bodies: str) -> None:
    """Send messages to a queue of the system."""
    sqs = system.client("sqs")
    url = sqs.get_queue_url(QueueName=f"{system.name}-{queue}")["QueueUrl"]
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body)


def pages_of(system: System, run_ids: Sequence[str]) -> list[tuple[str, str, str, int]]:
    """Keyword, status, reason and number of results of every page of these runs, in order."""
    among = ", ".join(f"'{run_id}'" for run_id in run_ids)
    found = system.rows(
        f"SELECT keyword, status, reason, len(results) FROM pages WHERE run_id IN ({among}) ORDER BY ALL"  # noqa: S608
    )
    return [
        (str(keyword), str(status), str(reason or ""), int(count)) for keyword, status, reason, count in found
    ]


def statuses_of(system: System, *run_ids: str) -> Counter[str]:
    """How many pages of these runs have which status, and reason where they have one."""
    pages = pages_of(system, run_ids)
    return Counter("/".join(filter(None, (status, reason))) for _, status, reason, _ in pages)


def assert_whole(system: System, run_ids: Sequence[str], words: Sequence[str]) -> None:
    """Every task is once in ``pages``, nothing is left anywhere, and the ledger and the marks say so."""
    assert [page[0] for page in pages_of(system, run_ids)] == sorted(words)
    assert not any(system.queue_depths().values())
    among = ", ".join(f"'{run_id}'" for run_id in run_ids)
    expected, parts = system.rows(
        f"SELECT sum(tasks), count(*) FROM shards WHERE run_id IN ({among})"  # noqa: S608
    )[0]
    assert (expected, parts) == (len(words), len(run_ids))
    for run_id in run_ids:
        assert system.is_complete(run_id)
        assert not system.objects(f"unfinished/{run_id}")
    assert not system.objects("backlog/")


def arrivals(system: System) -> list[dict[str, Any]]:
    """Every search that the practice engine was asked since its beginning."""
    with urllib.request.urlopen(f"{system.engine.url}/practice/arrivals", timeout=60) as answer:  # noqa: S310 - ours
        noted: list[dict[str, Any]] = json.loads(answer.read())
    return [one for one in noted if "search" in one["path"]]


def times_asked(system: System, words: Sequence[str]) -> Counter[str]:
    """How often each of these keywords was asked of the engine, those that never were left out."""
    wanted = set(words)
    return Counter(one["keyword"] for one in arrivals(system) if one["keyword"] in wanted)
