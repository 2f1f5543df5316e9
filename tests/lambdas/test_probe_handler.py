"""Function probe as Lambda calls it: by schedule and by hand with an order, and by its queue."""

from __future__ import annotations

import json
import time
from typing import Any

import boto3
import msgspec
import pytest

from pipeline import keys
from pipeline.errors import Misuse
from pipeline.functions.probe import ProbeFunction, ask
from pipeline.storage.s3 import S3Storage
from stages.measure import Order, Reading, decode_reading
from tests.lambdas.kit import BUCKET, Account, Context

QUEUE = "serpline-probe"
LIFETIME = Order("lifetime-20270115T080000Z-3f2a", 1_800_000_000.0, slot=4, pause_s=300.0)
TREE = Order("scaling-20270115T080000Z-3f2a", 1_800_000_000.0, levels=1, width=12, until=4e9)


class ProbeContext(Context):
    """What Lambda says of the probe."""

    function_name = "serpline-probe"
    memory_limit_in_mb = "512"


@pytest.fixture
def probing(account: Account) -> Account:
    """An account with the probes' queue."""
    account.sqs.create_queue(QueueName=f"{QUEUE}-dead")
    account.sqs.create_queue(QueueName=QUEUE)
    return account


def staged(order: Order) -> Reading:
    storage = S3Storage(boto3.client("s3"), BUCKET)
    return decode_reading(storage.get(keys.reading(order.experiment, order.probe)))


def event(order: Order) -> Any:
    return json.loads(msgspec.json.encode(order))


def test_an_order_gives_its_reading(probing: Account):
    """Told by a schedule or by hand: what it read of this machine is answered, and is in the bucket."""
    assert probing.drawn(QUEUE) == []
    handler = ProbeFunction()
    answer = handler(event(LIFETIME), ProbeContext())
    row = staged(LIFETIME)
    assert msgspec.convert(answer, Reading) == row
    assert (row.function, row.memory_mb, row.cold, row.invocation) == ("serpline-probe", 512, True, 1)
    assert row.init_ms is not None
    assert row.init_ms > 0
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - the kernel's
        assert row.boot_id == file.read().strip()
    more = json.loads(row.readings)
    assert {"disks", "processes", "user", "python", "limits", "memory_kb", "memory_limit_bytes"} <= set(more)
    assert more["python"]["version"]

    again = handler(event(msgspec.structs.replace(LIFETIME, slot=5)), ProbeContext())
    assert (again["cold"], again["invocation"], again["init_ms"]) == (False, 2, None)
    assert again["environment"] == row.environment
    assert ProbeFunction()(event(LIFETIME), ProbeContext())["environment"] != row.environment


def test_a_message_sends_its_children(probing: Account):
    """A root's level goes to its own queue, ten a call; the message is done."""
    body = msgspec.json.encode(TREE)
    answer = ProbeFunction()(probing.event(QUEUE, body), ProbeContext())
    assert answer == {"batchItemFailures": []}
    children = [msgspec.json.decode(one, type=Order) for one in probing.drawn(QUEUE)]
    assert sorted(child.slot for child in children) == list(range(12))
    row = staged(TREE)
    assert row.receives == 1
    assert row.delay_ms < 60_000


def test_a_probe_begins_with_the_first_line_of_its_function(probing: Account):
    """Making clients takes longer than all else, and is no part of what Lambda took to start it."""
    assert probing.drawn(QUEUE) == []
    handler = ProbeFunction()
    called = time.time()
    handler(event(LIFETIME), ProbeContext())
    took, row = time.time() - called, staged(LIFETIME)
    assert row.started_at - called < took / 4
    assert row.idle_ms is not None


def test_one_that_fires_twice_is_told_in_the_log(probing: Account, capsys: pytest.CaptureFixture[str]):
    """With its name; what it saw the first time stays."""
    assert probing.drawn(QUEUE) == []
    handler = ProbeFunction()
    handler(event(LIFETIME), ProbeContext())
    first = staged(LIFETIME)
    assert "told again" not in capsys.readouterr().err
    assert handler(event(LIFETIME), ProbeContext())["fired"] == 2
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "told again" in line]
    assert [(line["probe"], line["level"]) for line in said] == [(LIFETIME.probe, "warning")]
    assert staged(LIFETIME) == first


def test_a_message_that_is_no_order_comes_again_alone(probing: Account):
    """It ends among the dead after its deliveries; its neighbour is done."""
    good = msgspec.json.encode(msgspec.structs.replace(TREE, width=0, levels=0))
    given = probing.event(QUEUE, "no json", '{"command": "id"}', good)
    answer = ProbeFunction()(given, ProbeContext())
    failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
    assert failed == {record["messageId"] for record in given["Records"][:2]}
    assert staged(TREE).level == 0


def test_what_cannot_be_sent_comes_again(probing: Account):
    """A queue that is gone: the message is reported, and no reading is written that would hide it."""
    given = probing.event(QUEUE, msgspec.json.encode(TREE))
    probing.sqs.delete_queue(QueueUrl=probing.url(QUEUE))
    answer = ProbeFunction()(given, ProbeContext())
    assert len(answer["batchItemFailures"]) == 1
    written = list(S3Storage(boto3.client("s3"), BUCKET).keys(keys.MEASUREMENTS))
    assert written == [keys.sent(TREE.experiment, TREE.probe)]


@pytest.mark.parametrize(
    "said", [{"command": "id"}, {"action": "compact"}, [], "id", None, {"Records": [{}]}]
)
def test_any_other_event_is_refused(probing: Account, said: Any):
    """Before anything is opened, with a sentence."""
    probing.set("LAKE", "")
    with pytest.raises(Misuse):
        ProbeFunction()(said, ProbeContext())


@pytest.mark.parametrize(
    ("echo", "why"),
    [
        ("https://www.google.com/search?q=x", "without a question"),
        ("https://duckduckgo.com./", "a search engine's"),
        ("http://127.0.0.1:9/echo", "finds only itself"),
        ("http://10.0.0.5/", "in a private network"),
    ],
)
def test_a_probe_asks_nothing_that_is_no_echo(probing: Account, echo: str, why: str):
    """Whoever ordered it: the row says why it knows no address, and nothing was sent."""
    assert probing.drawn(QUEUE) == []
    told = ProbeFunction()(event(msgspec.structs.replace(LIFETIME, echo=echo)), ProbeContext())
    assert told["address"] is None
    assert "the echo URL could not be asked: Misuse" in told["echo_error"]
    assert why in told["echo_error"]


def test_an_echo_that_is_down_is_told():
    """The probe says why it knows no address."""
    order = msgspec.structs.replace(LIFETIME, echo="http://127.0.0.1:1/echo")
    down = ask(order, endpoint="http://127.0.0.1:4566")
    assert down == (None, "the echo URL failed: connection")
