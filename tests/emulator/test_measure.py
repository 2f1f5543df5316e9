"""The experiments on the emulator, with seconds for minutes: what is known of it is what they must find.

Its functions are processes of one machine: one boot, one address, as many environments as run at once, and
new ones after a function was resized or the emulator reset. It runs no more messages of a queue at once than
the mapping says, and begins what is scheduled up to ten seconds late.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec
import pytest

from pipeline import keys
from pipeline.measure.experiments import new_name
from pipeline.storage.s3 import S3Storage
from stages.measure import Experiment
from stages.measure_plan import root
from stages.measure_report.figures import levels, most_at_once
from tests.browser import chromium, open_tab
from tests.emulator.deploy import build_packages
from tests.emulator.measuring import NAME, measure, memory_of, named, readings, rows, schedules
from tests.emulator.policies import grants_of, missing
from tests.emulator.system import System

pytestmark = pytest.mark.timeout(300)

SCHEDULE_LATE = 15.0
"""Seconds that a schedule may be late here."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A deployment of its own, with what measures and two copies of the probe."""
    build_packages()
    system = System(
        tmp_path_factory.mktemp("measured"),
        name=NAME,
        sources={"practice_api": {"rate": 10}},
        variables={"measure": True, "measure_copies": 2, "default_source": "practice_api"},
    )
    try:
        system.start()
        yield system
    finally:
        system.stop()


def test_each_memory_is_an_environment_of_its_own(measured: System):
    """Two sizes are two cold starts on one machine; the function gets its own size back."""
    before = memory_of(measured)
    done = measure(measured, "environment", "--memory", "256,640", "--echo", f"{measured.engine.url}/echo")
    found = sorted(rows(measured, named(done)), key=lambda row: row.memory_mb)
    assert [row.memory_mb for row in found] == [256, 640]
    assert memory_of(measured) == before
    assert [row.cold for row in found] == [True, True]
    assert len({row.environment for row in found}) == 2
    assert {row.address for row in found} == {"127.0.0.1"}
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - the kernel's
        assert {row.boot_id for row in found} == {file.read().strip()}
    assert {row.cpu_count for row in found} == {os.cpu_count()}
    assert all(row.init_ms is not None and 10 < row.init_ms < 60_000 for row in found)
    for words in ("256 MB", "640 MB", os.uname().release, "127.0.0.1", "2 of 2 probes answered"):
        assert words in done.stdout


def test_an_environment_that_is_asked_again_is_the_same(measured: System):
    """Each copy is an environment of its own; the second time each is warm and knows how long it rested."""
    first = {
        row.function: row for row in rows(measured, named(measure(measured, "environment", "--copies", "2")))
    }
    second = {
        row.function: row for row in rows(measured, named(measure(measured, "environment", "--copies", "2")))
    }
    assert set(first) == set(second) == {f"{NAME}-probe", f"{NAME}-probe-1"}
    for function, row in second.items():
        assert (row.environment, row.cold) == (first[function].environment, False)
        assert row.invocation == first[function].invocation + 1
        assert row.rest_s == pytest.approx(row.started_at - first[function].finished_at, abs=0.2)
        assert row.init_ms is None


def test_a_probe_that_dies_is_told(measured: System):
    """Its function cannot even begin: a sentence, an exit code, and no row; then it is whole again."""
    function, lambda_ = f"{NAME}-probe", measured.client("lambda")
    lambda_.update_function_configuration(FunctionName=function, Handler="lambdas.nothing.handler")
    try:
        done = measure(measured, "environment", code=1)
        assert "ended without an answer" in done.stdout
        assert "0 of 1 probe answered" in done.stdout
        assert not rows(measured, named(done))
    finally:
        lambda_.update_function_configuration(FunctionName=function, Handler="lambdas.probe.handler")
    measure(measured, "environment")


def test_a_tree_runs_level_by_level(measured: System):
    """A root and two levels of three: each level's probes run at once, one row each, in the table once."""
    done = measure(measured, "scaling", "--tree", "2x3", "--hold", "6s")
    experiment = named(done)
    assert "7 of 7 probes answered" in done.stdout
    found = rows(measured, experiment)
    assert sorted((row.level, row.slot) for row in found) == [
        (0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2),
    ]  # fmt: skip
    for level in (1, 2):
        of_level = [row for row in found if row.level == level]
        assert len({row.environment for row in of_level}) == 3
        assert max(row.started_at for row in of_level) < min(row.finished_at for row in of_level)
    assert all(row.finished_at - row.started_at >= 6 for row in found)
    assert all(row.delay_ms < 10_000 for row in found)
    assert len({row.boot_id for row in found}) == 1
    measure(measured, "scaling", "--resume", experiment)
    assert len(rows(measured, experiment)) == 7
    assert {(row.planned, row.tree, row.hold_s, row.account_limit) for row in found} == {(7, "2x3", 6.0, 100)}
    assert {one.level: one.most_at_once for one in levels(found)} == {0: 1, 1: 3, 2: 3}
    assert not measured.dead_letters()


def test_a_tree_runs_no_wider_than_its_queue_lets_it(measured: System):
    """Three at once by the mapping: the other probes wait their turn, and each is one row all the same."""
    lambda_, sqs = measured.client("lambda"), measured.client("sqs")
    function = f"{NAME}-probe"
    [mapping] = lambda_.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
    capped = {"UUID": mapping["UUID"], "ScalingConfig": {"MaximumConcurrency": 3}}
    lambda_.update_event_source_mapping(**capped)
    try:
        refused = measure(measured, "scaling", "--tree", "1x6", "--yes", code=2)
        assert "7 probes at once, and 3 are allowed here" in refused.stderr
        # Begun all the same, as if the cap had come a moment later.
        tree = Experiment(
            experiment=new_name("scaling", time.time()),
            created_at=time.time(),
            functions=(function,),
            levels=1,
            width=6,
            hold_s=3.0,
            limit=100,
        )
        storage = S3Storage(measured.client("s3"), measured.bucket)
        storage.put_new(keys.experiment(tree.experiment), msgspec.json.encode(tree))
        url = sqs.get_queue_url(QueueName=f"{NAME}-probe")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=msgspec.json.encode(root(tree)).decode())
        measured.wait_for(lambda: len(readings(measured, tree.experiment)) == 7, within=60)
    finally:
        lambda_.update_event_source_mapping(**{**capped, "ScalingConfig": mapping["ScalingConfig"]})
    done = measure(measured, "scaling", "--resume", tree.experiment)
    assert "7 of 7 probes answered" in done.stdout
    # The emulator counts only functions that are invoked directly: in this minute there may be none.
    assert re.search(r"throttles: (0, by|not in) CloudWatch", done.stdout)
    found = rows(measured, tree.experiment)
    assert len(found) == 7
    assert most_at_once(found) == 3
    assert max(row.delay_ms for row in found) > 3000


def test_a_tree_above_a_tenth_of_the_account_is_asked_about(measured: System):
    """The account has 100 here: above 10 nothing begins unless somebody agrees, above 100 nothing at all."""
    refused = measure(measured, "scaling", "--tree", "1x12", code=2)
    assert "13% of the 100 invocations at once" in refused.stderr
    refused = measure(measured, "scaling", "--tree", "4x30", "--yes", code=2)
    assert "121 probes at once" in refused.stderr
    assert "the account has 100" in refused.stderr
    refused = measure(measured, "scaling", "--tree", "2x3", "--max", "6", code=2)
    assert "--max says 6" in refused.stderr
    assert measured.queue_depths()["probe"] == 0


def test_a_lifetime_goes_on_by_itself(measured: System):
    """Two copies rest in turn; schedules carry them and are gone when they fired; each probe is one row."""
    echo = f"{measured.engine.url}/echo"
    measure(measured, "environment", "--copies", "2")
    begun = measure(measured, "lifetime", "--intervals", "12s,24s", "--copies", "2", "--echo", echo)
    experiment = named(begun)
    assert "0 of 6 probes answered" in begun.stdout
    assert len(schedules(measured)) == 6
    measured.wait_for(lambda: not schedules(measured), within=48 + 6 + SCHEDULE_LATE)
    measured.wait_for(lambda: len(readings(measured, experiment)) == 6, within=20)
    # One of them fires again, hours later.
    order = {"experiment": experiment, "slot": 2, "scheduled_at": time.time()}
    measured.invoke("probe", order)
    done = measure(measured, "lifetime", "--resume", experiment)
    assert "6 of 6 probes answered" in done.stdout
    assert "1 probe told to run more than once, by what came twice (a schedule, a message); " in done.stdout
    measure(measured, "lifetime", "--resume")
    found = rows(measured, experiment)
    assert len(found) == 6
    assert {row.slot: row.fired for row in found} == {0: 1, 1: 1, 2: 2, 3: 1, 4: 1, 5: 1}
    for function in (f"{NAME}-probe", f"{NAME}-probe-1"):
        copy = sorted((row for row in found if row.function == function), key=lambda row: row.started_at)
        assert [row.pause_s for row in copy] == [None, 12.0, 24.0]
        # Nobody ends environments here: all three met the same one.
        assert len({row.environment for row in copy}) == 1
        assert [row.invocation for row in copy] == list(range(copy[0].invocation, copy[0].invocation + 3))
        for earlier, later in pairwise(copy):
            assert later.rest_s == pytest.approx(later.started_at - earlier.finished_at, abs=0.2)
            assert abs(later.rest_s - later.pause_s) < SCHEDULE_LATE
    assert {row.address for row in found} == {"127.0.0.1"}
    assert "after 12 s: 2 of 2 environments kept, 2 of 2 addresses" in done.stdout
    # What fired twice proves nothing of its own pause.
    assert "after 24 s: 1 of 1 environments kept" in done.stdout


def test_an_aborted_experiment_leaves_nothing(measured: System):
    """Its schedules, messages and objects go, what was seen stays a row, and nothing runs later."""
    seen = named(measure(measured, "environment"))
    begun = named(measure(measured, "lifetime", "--intervals", "300s,600s", "--copies", "2"))
    assert len(schedules(measured)) == 6
    beside = measure(measured, "environment", "--memory", "256", code=2)
    assert "not started: probes of another experiment are to come: 6 by schedule" in beside.stderr
    sqs = measured.client("sqs")
    dead = sqs.get_queue_url(QueueName=f"{NAME}-probe-dead")["QueueUrl"]
    sqs.send_message(QueueUrl=dead, MessageBody="{}")
    refused = measure(measured, "clean", code=2)
    assert "6 schedules and 0 messages of probes are to come" in refused.stderr
    assert len(schedules(measured)) == 6
    done = measure(measured, "clean", "--yes")
    assert "6 schedules" in done.stdout
    assert not schedules(measured)
    assert not measured.objects(keys.MEASUREMENTS)
    assert measured.queue_depths()["probe-dead"] == 0
    assert len(rows(measured, seen)) == 1
    assert not rows(measured, begun)
    refused = measure(measured, "lifetime", "--resume", begun, code=2)
    assert "there is no experiment" in refused.stderr
    assert "0 schedules" in measure(measured, "clean").stdout


def test_a_browser_shows_what_was_measured(measured: System, tmp_path: Path):
    """The latest of each kind on a real screen: their names and plots, and nothing but the file is loaded."""
    chromium()
    names = [
        named(measure(measured, "environment")),
        named(measure(measured, "scaling", "--tree", "1x2", "--hold", "1s")),
    ]
    page = tmp_path / "measurements.html"
    done = measure(measured, "report", "--output", str(page))
    assert str(page) in done.stdout

    async def look() -> None:
        async with open_tab(tmp_path / "profile") as tab:
            await tab.show(page, width=1200, dark=False)
            words = await tab.ask("document.body.innerText")
            assert all(name in words for name in names)
            assert await tab.ask("document.querySelectorAll('svg').length") >= 2
            assert await tab.ask("document.documentElement.scrollWidth") <= 1200
            asked = [
                one["params"]["request"]["url"] for one in tab.events if one["method"].endswith("WillBeSent")
            ]
            assert set(asked) == {page.as_uri()}
            assert not [one for one in tab.events if one["method"] == "Log.entryAdded"]
            assert (await tab.picture()).startswith(b"\x89PNG")

    asyncio.run(look())


@pytest.mark.parametrize(
    "event",
    [
        {"command": "id"},
        {"experiment": "lifetime-20260101T000000Z-abcd", "scheduled_at": 1, "command": "id"},
        {"experiment": "../../runs/x", "scheduled_at": 1},
        {"action": "compact"},
        [],
    ],
)
def test_a_probe_takes_nothing_but_an_order(measured: System, event: Any):
    """Anything else is refused with a sentence, and writes nothing."""
    before = measured.objects(keys.MEASUREMENTS)
    with pytest.raises(RuntimeError, match="takes an order of an experiment and nothing else"):
        measured.invoke("probe", event)
    assert measured.objects(keys.MEASUREMENTS) == before


def test_no_engine_was_asked(measured: System):
    """Of all that was asked of the practice engine nothing was a search, and each said who asks."""
    with urlopen(f"{measured.engine.url}/practice/arrivals", timeout=10) as answer:  # noqa: S310 - ours
        asked = json.loads(answer.read())
    assert {one["path"] for one in asked} == {"/echo"}
    assert all("+tests@example.org" in one["user_agent"] for one in asked)


def test_a_probes_role_allows_what_it_does(measured: System):
    """Every call that probes made is in their own policy: they write, and send to their queue."""
    grants = grants_of(measured)
    probes = [call for call in measured.recording.calls() if call.function.startswith(f"{NAME}-probe")]
    assert {call.action for call in probes} == {"s3:PutObject", "sqs:GetQueueUrl", "sqs:SendMessage"}
    assert not {lacking for call in probes for lacking in missing(grants[call.function], call)}


def test_environments_end_with_the_emulators_reset(measured: System):
    """It is as after the account's end: the same function meets none of its environments again."""
    deployment = measured.deployment
    assert deployment is not None
    [before] = rows(measured, named(measure(measured, "environment")))
    [again] = rows(measured, named(measure(measured, "environment")))
    assert (again.environment, again.cold) == (before.environment, False)
    measured.emulator.reset()
    deployment.apply()
    [after] = rows(measured, named(measure(measured, "environment")))
    assert after.environment != before.environment
    assert (after.cold, after.invocation, after.rest_s) == (True, 1, None)
    assert after.init_ms is not None
