"""Lanes on AWS: they take turns, none before it has rested, and a refusal ends nobody's turn."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

import pytest

from tests.emulator.system import System
from tests.emulator.work import LANE_REST, as_csv

pytestmark = pytest.mark.timeout(200)

SOURCE = "practice_api"
RECORD = f"conduct/{SOURCE}.json"
CLOSED = 8


def look(system: System) -> dict[str, Any]:
    """What conduct found, and did, of the source's lanes."""
    found: dict[str, Any] = system.invoke("conduct", {"action": "conduct"})[SOURCE]
    return found


def record(system: System, **changes: Any) -> dict[str, Any]:
    """Whose turn it is, changed so."""
    s3 = system.client("s3")
    turn = json.loads(s3.get_object(Bucket=system.bucket, Key=RECORD)["Body"].read()) | changes
    s3.put_object(Bucket=system.bucket, Key=RECORD, Body=json.dumps(turn).encode())
    return turn


def lanes_at_work(system: System) -> list[int]:
    """Those whose mappings hand messages over, or are about to."""
    found = system.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    names = {
        one["FunctionArn"].rpartition(":")[2]
        for one in found
        if one["State"] in {"Enabled", "Enabling", "Creating"}
    }
    return [lane for lane in (0, 1) if f"{system.name}-fetch-{SOURCE}-{lane}" in names]


def set_faults(system: System, *faults: dict[str, Any]) -> None:
    body = json.dumps({"faults": faults}).encode()
    url = f"{system.engine.url}/practice/faults"
    urllib.request.urlopen(urllib.request.Request(url, body), timeout=60).close()  # noqa: S310  # ours


def asked_by(system: System, words: Sequence[str]) -> set[str]:
    """The lanes that asked for a run of these keywords."""
    run = system.drop(f"keywords/source={SOURCE}/{words[0]}.csv", as_csv(words))
    system.wait_until_complete([run])
    return lanes_of(system, run)


def lanes_of(system: System, run: str) -> set[str]:
    return {lane for (lane,) in system.rows(f"SELECT DISTINCT lane FROM pages WHERE run_id = '{run}'")}  # noqa: S608


def test_lanes_take_turns_and_rest_and_the_refused_one_makes_the_trial(system: System):
    """Each row says which lane asked; while the source is closed the turn stays with who was refused."""
    first = look(system)["lane"]
    other = 1 - first
    record(system, since=0, ceased={})
    assert look(system)["lane"] == other
    changed = time.time()
    assert lanes_at_work(system) == [other]

    # Its turn is over at once, but the first one has not rested.
    record(system, since=0)
    assert look(system)["lane"] == other
    record(system, since=time.time())
    assert asked_by(system, ["turns", "of", "lanes"]) == {str(other)}
    record(system, since=0)
    system.wait_for(lambda: look(system)["lane"] == first, within=3 * LANE_REST)
    assert time.time() - changed >= LANE_REST
    assert lanes_at_work(system) == [first]
    assert asked_by(system, ["turns", "again"]) == {str(first)}
    asked = {lane for (lane,) in system.rows("SELECT DISTINCT lane FROM pages WHERE source = 'practice_api'")}
    assert asked == {"0", "1"}

    # The first is refused, and it is as if the other's turn had just come, with its own end long past.
    word = "which lane is refused"
    set_faults(system, {"kind": "throttle", "keywords": [word], "first": 1, "seconds": CLOSED})
    try:
        run = system.drop(f"keywords/source={SOURCE}/refused.csv", as_csv([word]))
        system.wait_for(lambda: look(system)["closed"])
        since = time.time()
        record(system, lane=other, since=0, ceased={})
        looks = 0
        while (seen := look(system))["closed"]:
            looks += 1
            assert seen["lane"] == first
            assert lanes_at_work(system) == [first]
            # Were it open, the other one would take over now.
            record(system, since=0, ceased={})
            assert time.time() - since < 60, system.complaints()
        assert looks > 1
        system.wait_until_complete([run])
    finally:
        set_faults(system)
    assert lanes_of(system, run) == {str(first)}
    told = system.rows(
        f"SELECT event, lane FROM closings WHERE run_id = '{run}' ORDER BY happened_at"  # noqa: S608
    )
    assert told == [("closed", str(first)), ("reopened", str(first))]
    system.wait_for(lambda: look(system)["lane"] == other or not record(system, since=0, ceased={}))
    record(system, lane=0, since=time.time(), ceased={})
    system.wait_for(lambda: look(system)["lane"] == 0 and lanes_at_work(system) == [0])
