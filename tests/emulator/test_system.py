"""The system as a whole, in small: a dropped file becomes rows, once, whatever AWS does meanwhile."""

from __future__ import annotations

from tests.emulator.faults import outage, throttle
from tests.emulator.system import System

KEYWORDS = [f"how to read a file {n}" for n in range(30)]
BODY = "\n".join(["keyword", *KEYWORDS]).encode()


def pages_of(system: System, run_id: str) -> list[tuple[str, str]]:
    found = system.rows(f"SELECT keyword, status FROM pages WHERE run_id = '{run_id}' ORDER BY keyword")  # noqa: S608
    return [(str(keyword), str(status)) for keyword, status in found]


def test_a_dropped_file_becomes_rows(system: System):
    """Every keyword once; the queues are empty, and each function's calls have its name."""
    since = system.recording.mark()
    run_id = system.drop("keywords/a file, with ü + 100%.csv", BODY)
    system.wait_until_complete([run_id])
    assert pages_of(system, run_id) == [(keyword, "ok") for keyword in sorted(KEYWORDS)]
    assert not any(system.queue_depths().values())
    callers = {call.function for call in system.recording.calls(since)}
    stages = {"shard", "fetch-practice_api-0", "aggregate", "compact"}
    assert callers >= {f"{system.name}-{stage}" for stage in stages}


def test_faults_change_no_row(system: System):
    """Throttles, errors and lost answers on the way: the same rows."""
    rules = [
        throttle("sqs", "SendMessageBatch", probability=0.2),
        throttle("dynamodb", "UpdateItem", probability=0.2),
        outage("s3", "PutObject", probability=0.1),
    ]
    with system.disturbed(*rules, lost=[("s3", "PutObject", 0.1), ("glue", "UpdateTable", 0.1)]) as faults:
        run_id = system.drop("keywords/disturbed.csv", BODY)
        system.wait_until_complete([run_id])
        assert faults.fired()
    assert pages_of(system, run_id) == [(keyword, "ok") for keyword in sorted(KEYWORDS)]
