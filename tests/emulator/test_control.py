"""What the operator says of a run: pause, resume, cancel; and a small run that comes after a large one."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from pipeline.run_control import REMEMBERED, say
from pipeline.storage.s3 import S3Storage
from tests.emulator.system import System
from tests.emulator.work import (
    HORIZON,
    SLOW_RATE,
    as_csv,
    assert_whole,
    keywords,
    statuses_of,
    times_asked,
)

pytestmark = pytest.mark.timeout(200)


def storage(system: System) -> S3Storage:
    return S3Storage(system.client("s3"), system.bucket)


def test_a_small_run_after_a_large_one_is_done_long_before_it(system: System):
    """By the backlog: each run has its turns. The large one is then cancelled, and ends as told."""
    large, small = keywords(5_000, "wait for"), keywords(200, "overtake")
    first = system.drop("keywords/source=practice_page/large.csv", as_csv(large))
    system.wait_for(lambda: system.objects(f"staging/{first}/0/shard.json"))
    began = time.monotonic()
    second = system.drop("keywords/source=practice_page/small.csv", as_csv(small))
    system.wait_until_complete([second], within=5 * HORIZON)
    took = time.monotonic() - began
    assert took < len(large) / SLOW_RATE / 2
    assert not system.is_complete(first)
    assert len(times_asked(system, large)) < len(large) * 0.6

    say(storage(system), first, "cancelled", time.time())
    system.wait_until_complete([first], within=90)
    assert_whole(system, [first], large)
    told = statuses_of(system, first)
    assert set(told) == {"ok", "refused/cancelled"}
    asked = times_asked(system, large)
    assert told["ok"] == len(asked) < len(large) * 0.7


def test_a_paused_run_asks_nothing_until_it_is_resumed(system: System):
    """What is in the queue goes back into the backlog; resumed it completes, and each task was asked once."""
    words = keywords(1_000, "pause")
    first = system.drop("keywords/source=practice_page/paused.csv", as_csv(words))
    say(storage(system), first, "paused", time.time())
    time.sleep(REMEMBERED + 2)
    asked = times_asked(system, words)
    assert len(asked) < len(words)
    time.sleep(3)
    system.invoke("conduct", {"action": "conduct"})
    assert times_asked(system, words) == asked
    # What was met in the queue takes no room in it.
    system.wait_for(lambda: not system.queue_depths()["fetch-practice_page"])
    say(storage(system), first, "", time.time())
    system.wait_until_complete([first], within=120)
    assert_whole(system, [first], words)
    assert times_asked(system, words) == Counter(words)
    assert statuses_of(system, first) == {"ok": len(words)}
