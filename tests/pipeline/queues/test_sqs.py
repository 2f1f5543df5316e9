"""What only SQS has: its limits, its characters, answers that fail in part, its own redrive policy."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from botocore.stub import ANY, Stubber
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import Misuse, QueueUnavailable, Unavailable
from pipeline.queues import sqs_wire
from pipeline.queues.sqs import SqsBroker, SqsQueue
from pipeline.queues.sqs_wire import LARGEST, LONGEST_REASON, TRIES, text_of
from tests.pipeline.queues.conftest import sqs_client

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/q"
ALLOWED = re.compile("[\x09\x0a\x0d\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
"""The characters that the API's reference allows, written down apart from the code."""


@pytest.fixture
def client(aws: None) -> Iterator[SQSClient]:  # noqa: ARG001
    client = sqs_client()
    yield client
    client.close()


def heard(client: SQSClient, operation: str) -> list[dict[str, Any]]:
    """The parameters of every such call from now on."""
    calls: list[dict[str, Any]] = []

    def hear(params: dict[str, Any], **_: Any) -> None:
        calls.append(params)

    client.meta.events.register(f"provide-client-params.sqs.{operation}", hear)
    return calls


@pytest.fixture
def stub() -> Iterator[Stubber]:
    """A client that gives the answers it was told to give, to the calls it was told to expect."""
    client = sqs_client()
    with Stubber(client) as stubber:
        stubber.add_response("get_queue_url", {"QueueUrl": URL}, {"QueueName": "q"})
        yield stubber
    client.close()


def stubbed(stub: Stubber, **options: Any) -> SqsQueue:
    return SqsBroker(stub.client, **options).queue("q")


def delivery(number: int = 1, receives: int = 1) -> dict[str, Any]:
    return {
        "MessageId": f"m{number}",
        "ReceiptHandle": f"h{number}",
        "Body": str(number),
        "Attributes": {"ApproximateReceiveCount": str(receives), "SentTimestamp": "1700000000500"},
    }


def test_ten_go_in_one_call(client: SQSClient):
    calls = heard(client, "SendMessageBatch")
    queue = SqsBroker(client, create=True).queue("q")
    queue.send([b"%d" % number for number in range(25)])
    queue.send([])
    assert [len(call["Entries"]) for call in calls] == [10, 10, 5]
    assert sorted(int(one.body) for one in queue.receive(30, wait=1.0)) == list(range(25))


def test_a_call_holds_a_mebibyte_of_bytes_not_of_characters(client: SQSClient):
    calls = heard(client, "SendMessageBatch")
    queue = SqsBroker(client, create=True).queue("q")
    half = b'"' + "ж".encode() * ((LARGEST // 2 - 2) // 2) + b'"'
    assert len(half) == LARGEST // 2
    queue.send([half, half, half, b"1", half])
    sizes = [[len(entry["MessageBody"].encode()) for entry in call["Entries"]] for call in calls]
    assert sizes == [[len(half)] * 2, [len(half), 1], [len(half)]]


@pytest.mark.parametrize("bad", [b"\xff", b"", b"1" * (LARGEST + 1), b'"' + b"\xef\xbf\xbf" * 300_000 + b'"'])
def test_what_sqs_cannot_carry_is_refused_before_anything_is_sent(client: SQSClient, bad: bytes):
    queue = SqsBroker(client, create=True).queue("q")
    with pytest.raises(ValueError, match="SQS carries"):
        queue.send([b"1"] * 20 + [bad])
    assert queue.depth().waiting == 0


odd = st.characters(codec="utf-8") | st.sampled_from(
    '\ufffe\uffff\ufffd\ud7ff\ue000\x7f\x85\x00\x1f\\"u\n\r\t'
)


@example({"": ["\ufffd\ud7ff\ue000"]})
@example({"\ufffe": ["\uffff", "\\\uffff"]})
@given(content=st.dictionaries(st.text(odd), st.lists(st.text(odd))))
def test_every_text_can_be_sent_and_means_the_same(content: dict[str, list[str]]):
    body = msgspec.json.encode(content)
    text = text_of(body)
    assert ALLOWED.fullmatch(text)
    assert msgspec.json.decode(text) == content
    if ALLOWED.fullmatch(body.decode()):
        assert text.encode() == body


def test_a_refused_character_goes_there_and_back(client: SQSClient):
    queue = SqsBroker(client, create=True).queue("q")
    queue.send(['"a\uffffb\ufffe"'.encode(), b'"\x01"'])
    bodies = sorted(one.body for one in queue.receive(2, wait=1.0))
    assert bodies == [rb'"\u0001"', rb'"a\uffffb\ufffe"']


def test_a_group_is_a_run(client: SQSClient):
    calls = heard(client, "SendMessageBatch")
    queue = SqsBroker(client, create=True).queue("q")
    queue.send([b"1"] * 11, group="run-1")
    queue.send([b"2"], group="größe " + "x" * 200)
    queue.send([b"3"])
    groups = [[entry.get("MessageGroupId") for entry in call["Entries"]] for call in calls]
    assert groups == [["run-1"] * 10, ["run-1"], ["gr__e_" + "x" * 122], [None]]


def test_a_delay_is_rounded_up(client: SQSClient):
    calls = heard(client, "SendMessageBatch")
    SqsBroker(client, create=True).queue("q").send([b"1"], delay=0.2)
    assert calls[0]["Entries"][0]["DelaySeconds"] == 1


def failed(*ids: str, code: str = "InternalError", fault: bool = False) -> dict[str, Any]:
    return {"Successful": [], "Failed": [{"Id": one, "SenderFault": fault, "Code": code} for one in ids]}


def test_what_failed_alone_is_sent_again(stub: Stubber, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqs_wire, "PAUSE", 0.0)
    stub.add_response("send_message_batch", failed("1", "2"))
    entry = {"MessageBody": "b", "Id": "1", "DelaySeconds": 0}
    again = {"QueueUrl": URL, "Entries": [entry, {"MessageBody": "c", "Id": "2", "DelaySeconds": 0}]}
    stub.add_response("send_message_batch", failed("1"), again)
    stub.add_response("send_message_batch", failed(), {"QueueUrl": URL, "Entries": [entry]})
    stubbed(stub).send([b"a", b"b", b"c"])
    stub.assert_no_pending_responses()


def test_what_fails_on_is_reported(stub: Stubber, monkeypatch: pytest.MonkeyPatch):
    """Returning would mean stored."""
    monkeypatch.setattr(sqs_wire, "PAUSE", 0.0)
    for _ in range(TRIES):
        stub.add_response("send_message_batch", failed("1"))
    with pytest.raises(QueueUnavailable, match="1 messages"):
        stubbed(stub).send([b"a", b"b"])
    stub.assert_no_pending_responses()


def test_what_is_our_fault_is_not_repeated(stub: Stubber):
    stub.add_response("send_message_batch", failed("0", code="KmsAccessDenied", fault=True))
    with pytest.raises(QueueUnavailable, match="the key and its policy"):
        stubbed(stub).send([b"a"])


def test_a_throttle_and_a_missing_grant_are_waited_for():
    client = sqs_client()
    with Stubber(client) as stub:
        stub.add_client_error("get_queue_url", "AccessDenied", http_status_code=403)
        stub.add_response("get_queue_url", {"QueueUrl": URL})
        stub.add_client_error("send_message_batch", "RequestThrottled", http_status_code=400)
        queue = SqsBroker(client).queue("q")
        with pytest.raises(QueueUnavailable, match="grant it in IAM"):
            queue.send([b"1"])
        with pytest.raises(QueueUnavailable, match="the queue q is busy"):
            queue.send([b"1"])


def test_a_missing_queue_is_named(client: SQSClient):
    queue = SqsBroker(client).queue("serpline-results")
    with pytest.raises(Misuse, match=r"no queue serpline-results in eu-central-1: .* `terraform apply`\?"):
        queue.send([b"1"])


def test_a_url_is_asked_for_once(client: SQSClient):
    SqsBroker(client, create=True).queue("q").depth()
    calls = heard(client, "GetQueueUrl")
    queue = SqsBroker(client).queue("q")
    assert not calls  # opening needs no grant
    for _ in range(3):
        queue.send([b"1"])
        queue.receive(1, wait=0.0)
    assert len(calls) == 1


def test_a_queue_made_here_has_its_policy(client: SQSClient):
    SqsBroker(client, create=True, max_receives=7, visibility=90.0).queue("q").depth()
    found = client.get_queue_attributes(
        QueueUrl=client.get_queue_url(QueueName="q")["QueueUrl"], AttributeNames=["All"]
    )
    attributes = found["Attributes"]
    assert attributes["VisibilityTimeout"] == "90"
    assert attributes["MessageRetentionPeriod"] == str(10 * 86400)
    policy = json.loads(attributes["RedrivePolicy"])
    assert policy["maxReceiveCount"] == 7
    assert policy["deadLetterTargetArn"].endswith(":q-dead")
    dead = client.get_queue_url(QueueName="q-dead")["QueueUrl"]
    found = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["All"])
    assert found["Attributes"]["MessageRetentionPeriod"] == str(14 * 86400)
    assert "RedrivePolicy" not in found["Attributes"]


def test_a_consumer_that_goes_away_spends_a_receive(client: SQSClient):
    """SQS moves the message itself then; the reason is given all the same."""
    queue = SqsBroker(client, create=True, max_receives=2, visibility=1.0).queue("q")
    queue.send([b'"deadly"'])
    for receives in (1, 2):
        (received,) = queue.receive(1, wait=3.0)
        assert received.receives == receives
        time.sleep(1.1)
    assert queue.receive(1, wait=0.0) == []
    (dead,) = queue.dead().receive(1, wait=1.0)
    assert dead.body == b'"deadly"'
    assert "2 times; the last consumer went away" in dead.receipt.reason


def test_the_receipts_tell_when_it_was_sent(client: SQSClient):
    queue = SqsBroker(client, create=True).queue("q")
    before = time.time()
    queue.send([b"1"])
    (received,) = queue.receive(1, wait=1.0)
    assert before - 1.0 < received.sent_at < time.time() + 1.0


@pytest.mark.parametrize(("size", "kept"), [(2, LONGEST_REASON), (LARGEST - 100, 88), (LARGEST, 0)])
def test_a_reason_never_keeps_a_message_from_its_grave(client: SQSClient, size: int, kept: int):
    calls = heard(client, "SendMessage")
    queue = SqsBroker(client, create=True).queue("q")
    queue.send([b"1" * size])
    queue.bury(queue.receive(1, wait=1.0)[0], reason="bad\x00:" + "ж" * 9999)
    (call,) = calls
    attributes = call["MessageAttributes"]
    if kept:
        reason = attributes["reason"]["StringValue"]
        assert reason.startswith("bad :ж")
        assert kept - 1 <= len(reason.encode()) <= kept
    else:
        assert attributes == {}
    assert queue.dead().depth().waiting == 1


@pytest.mark.parametrize(
    "code",
    ["ReceiptHandleIsInvalid", "AWS.SimpleQueueService.MessageNotInflight", "InvalidParameterValue"],
)
def test_a_stale_receipt_may_be_an_error_to_sqs(stub: Stubber, code: str):
    stub.add_response("receive_message", {"Messages": [delivery(1), delivery(2)]})
    stub.add_client_error("delete_message", code)
    stub.add_client_error("change_message_visibility", code)
    queue = stubbed(stub)
    first, second = queue.receive(2, wait=0.0)
    queue.ack(first)
    queue.release(second)
    stub.assert_no_pending_responses()


def test_other_errors_are_not_taken_for_stale_receipts(stub: Stubber):
    stub.add_response("receive_message", {"Messages": [delivery(1)]})
    stub.add_client_error("delete_message", "RequestThrottled")
    stub.add_client_error("change_message_visibility", "RequestThrottled")
    queue = stubbed(stub)
    (received,) = queue.receive(1, wait=0.0)
    with pytest.raises(Unavailable):
        queue.ack(received)
    with pytest.raises(Unavailable):
        queue.release(received)


def test_a_burial_that_fails_deletes_nothing(stub: Stubber):
    """The grave is there before the message is gone."""
    stub.add_response("receive_message", {"Messages": [delivery(1)]})
    stub.add_response("get_queue_url", {"QueueUrl": f"{URL}-dead"}, {"QueueName": "q-dead"})
    stub.add_client_error("send_message", "RequestThrottled")
    queue = stubbed(stub)
    (received,) = queue.receive(1, wait=0.0)
    with pytest.raises(QueueUnavailable):
        queue.bury(received, reason="why")
    stub.assert_no_pending_responses()  # a delete would have been one call too many


def test_what_was_taken_before_an_outage_is_worked_on(stub: Stubber):
    stub.add_response("receive_message", {"Messages": [delivery(1)]})
    stub.add_client_error("receive_message", "RequestThrottled")
    assert [one.body for one in stubbed(stub).receive(5, wait=0.0)] == [b"1"]


@pytest.mark.parametrize(("wait", "polls"), [(0.0, [0]), (0.2, [1]), (3.0, [3]), (25.0, [20, 5])])
def test_a_wait_is_a_long_poll(stub: Stubber, wait: float, polls: list[int]):
    for seconds in polls:
        expected = {
            "QueueUrl": URL,
            "MaxNumberOfMessages": 10,
            "WaitTimeSeconds": seconds,
            "VisibilityTimeout": 60,
            "MessageSystemAttributeNames": ANY,
            "MessageAttributeNames": ANY,
        }
        stub.add_response("receive_message", {}, expected)
    assert stubbed(stub, visibility=60.0).receive(100, wait=wait) == []
    stub.assert_no_pending_responses()


def test_a_queues_own_visibility_is_left_alone(stub: Stubber):
    expected = {
        "QueueUrl": URL,
        "MaxNumberOfMessages": 3,
        "WaitTimeSeconds": 0,
        "MessageSystemAttributeNames": ANY,
        "MessageAttributeNames": ANY,
    }
    stub.add_response("receive_message", {}, expected)
    assert stubbed(stub).receive(3, wait=0.0) == []
