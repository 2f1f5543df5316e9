"""The harness itself: it names calls right, runs functions as AWS does, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pyarrow import fs

from tests.emulator.dummy import dummy_zip
from tests.emulator.emulator import ACCOUNT, CALLER, REGION, Emulator, client
from tests.emulator.faults import Faults, reset, throttle
from tests.emulator.recording import Recording
from tests.emulator.wire import Passing

Bare = tuple[Emulator, Recording]


def named(recording: Recording, since: int) -> list[tuple[str, str, str]]:
    time.sleep(0.05)  # a line is written once its answer has been handed on
    return [(call.service, call.operation, call.resource) for call in recording.calls(since)]


def until(true: Callable[[], object], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def make_function(emulator: Emulator, name: str, **options: Any) -> Any:
    functions = emulator.client("lambda")
    functions.create_function(
        FunctionName=name,
        Runtime="provided.al2023",
        Role=f"arn:aws:iam::{ACCOUNT}:role/{name}",
        Handler="dummy.handler",
        Code={"ZipFile": dummy_zip()},
        **{"Timeout": 10, **options},
    )
    return functions


def invoke(functions: Any, name: str, event: object) -> tuple[Any, str | None]:
    answer = functions.invoke(FunctionName=name, Payload=json.dumps(event).encode())
    return json.loads(answer["Payload"].read()), answer.get("FunctionError")


WIRE = (
    b"PUT /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
    b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n"
    b"GET /c HTTP/1.1\r\n\r\n"
)
ANSWERS = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"  # of a HEAD
    b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil the end"
)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_messages_are_told_apart_however_the_bytes_come(piece: int):
    """Lengths, chunks with trailers, no body, answers to HEAD, interim answers, a body until the end."""
    requests, answers = Passing(), Passing(responses=True)
    answers.heads = [False, True, False, False]
    passed = [m for at in range(0, len(WIRE), piece) for m in requests.feed(WIRE[at : at + piece])]
    assert [(m.first[1], bytes(m.body)) for m in passed] == [("/a", b"hello"), ("/b", b"abcde"), ("/c", b"")]
    assert not requests.under_way
    passed = [m for at in range(0, len(ANSWERS), piece) for m in answers.feed(ANSWERS[at : at + piece])]
    last = answers.end()
    assert [(m.status, bytes(m.body)) for m in passed] == [(200, b"ok"), (200, b""), (204, b"")]
    assert last is not None
    assert last.body == b"until the end"


def test_every_call_of_s3_has_its_name(bare: Bare):
    """Objects, parts, lists and deletions, as boto3 makes them, with their bucket and key."""
    _, recording = bare
    since = recording.mark()
    s3 = client("s3", recording.url)
    s3.create_bucket(Bucket="names")
    s3.put_object(Bucket="names", Key="a/b c+ü%.txt", Body=b"hello", IfNoneMatch="*")
    assert s3.get_object(Bucket="names", Key="a/b c+ü%.txt", Range="bytes=1-2")["Body"].read() == b"el"
    s3.head_object(Bucket="names", Key="a/b c+ü%.txt")
    s3.list_objects_v2(Bucket="names", Prefix="a/")
    upload = s3.create_multipart_upload(Bucket="names", Key="big")["UploadId"]
    part = s3.upload_part(Bucket="names", Key="big", UploadId=upload, PartNumber=1, Body=os.urandom(6 << 20))
    s3.complete_multipart_upload(
        Bucket="names",
        Key="big",
        UploadId=upload,
        MultipartUpload={"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]},
    )
    s3.copy_object(Bucket="names", Key="copy", CopySource="names/big")
    s3.delete_objects(Bucket="names", Delete={"Objects": [{"Key": "copy"}]})
    s3.delete_object(Bucket="names", Key="big")
    with pytest.raises(ClientError):
        s3.get_object(Bucket="names", Key="gone", VersionId="null")
    assert named(recording, since) == [
        ("s3", "CreateBucket", "names"),
        ("s3", "PutObject", "names/a/b c+ü%.txt"),
        ("s3", "GetObject", "names/a/b c+ü%.txt"),
        ("s3", "HeadObject", "names/a/b c+ü%.txt"),
        ("s3", "ListObjectsV2", "names/a/"),
        ("s3", "CreateMultipartUpload", "names/big"),
        ("s3", "UploadPart", "names/big"),
        ("s3", "CompleteMultipartUpload", "names/big"),
        ("s3", "CopyObject", "names/copy"),
        ("s3", "DeleteObjects", "names"),
        ("s3", "DeleteObject", "names/big"),
        ("s3", "GetObject", "names/gone"),
    ]
    last = recording.calls(since)[-1]
    assert (last.function, last.status, last.action) == (CALLER, 404, "s3:GetObjectVersion")
    assert {call.action for call in recording.calls(since)} == {
        "s3:CreateBucket",
        "s3:PutObject",
        "s3:GetObject",
        "s3:GetObjectVersion",
        "s3:ListBucket",
        "s3:DeleteObject",
    }


def test_every_call_of_the_other_services_has_its_name(bare: Bare):
    """JSON, query and REST protocols, with the queue, table or mapping that the call is about."""
    emulator, recording = bare
    since = recording.mark()
    sqs, glue, dynamodb = (client(name, recording.url) for name in ("sqs", "glue", "dynamodb"))
    url = sqs.create_queue(QueueName="names-queue")["QueueUrl"]
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "x" * 200_000}])
    [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    receipt = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
    sqs.change_message_visibility(VisibilityTimeout=5, **receipt)
    sqs.delete_message(**receipt)
    sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    glue.create_database(DatabaseInput={"Name": "names_db"})
    glue.create_table(DatabaseName="names_db", TableInput={"Name": "pages"})
    glue.get_table(DatabaseName="names_db", Name="pages")
    dynamodb.create_table(
        TableName="names-pace",
        KeySchema=[{"AttributeName": "source", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "source", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.get_item(TableName="names-pace", Key={"source": {"S": "x"}})
    client("events", recording.url).put_events(
        Entries=[{"Source": "serpline", "DetailType": "Run complete", "Detail": "{}"}]
    )
    client("cloudwatch", recording.url).list_metrics()
    client("sns", recording.url).list_topics()
    client("secretsmanager", recording.url).create_secret(Name="names-secret", SecretString="x")
    client("ssm", recording.url).put_parameter(Name="/names/p", Value="x", Type="SecureString")
    queue_arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:names-queue"
    make_function(emulator, "names-function")
    functions = client("lambda", recording.url)
    uuid = functions.create_event_source_mapping(
        FunctionName="names-function", EventSourceArn=queue_arn, Enabled=False
    )["UUID"]
    functions.get_event_source_mapping(UUID=uuid)
    functions.update_event_source_mapping(UUID=uuid, Enabled=True)
    functions.delete_event_source_mapping(UUID=uuid)
    assert named(recording, since) == [
        ("sqs", "CreateQueue", "names-queue"),
        ("sqs", "SendMessageBatch", "names-queue"),
        ("sqs", "ReceiveMessage", "names-queue"),
        ("sqs", "ChangeMessageVisibility", "names-queue"),
        ("sqs", "DeleteMessage", "names-queue"),
        ("sqs", "GetQueueAttributes", "names-queue"),
        ("glue", "CreateDatabase", "names_db"),
        ("glue", "CreateTable", "names_db/pages"),
        ("glue", "GetTable", "names_db/pages"),
        ("dynamodb", "CreateTable", "names-pace"),
        ("dynamodb", "GetItem", "names-pace"),
        ("events", "PutEvents", "default"),
        ("cloudwatch", "ListMetrics", ""),
        ("sns", "ListTopics", ""),
        ("secretsmanager", "CreateSecret", "names-secret"),
        ("ssm", "PutParameter", "/names/p"),
        ("lambda", "CreateEventSourceMapping", ""),
        ("lambda", "GetEventSourceMapping", uuid),
        ("lambda", "UpdateEventSourceMapping", uuid),
        ("lambda", "DeleteEventSourceMapping", uuid),
    ]
    assert "sqs:SendMessage" in {call.action for call in recording.calls(since)}


def test_arrow_is_recorded_as_boto3_is(bare: Bare, monkeypatch: pytest.MonkeyPatch):
    """PyArrow's own client of S3, with its multipart writes and ranged reads."""
    emulator, recording = bare
    emulator.client("s3").create_bucket(Bucket="arrow")
    since = recording.mark()
    # As in a function: the key comes from the environment, the endpoint from the catalog's properties.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some-function")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "")
    store = fs.S3FileSystem(region=REGION, endpoint_override=recording.url)
    body = os.urandom(12 << 20)
    with store.open_output_stream("arrow/tables/x.parquet") as file:
        file.write(body)
    with store.open_input_file("arrow/tables/x.parquet") as file:
        file.seek(5)
        assert file.read(1000) == body[5:1005]
    store.delete_file("arrow/tables/x.parquet")
    calls = named(recording, since)
    assert {call[1] for call in calls} >= {"CreateMultipartUpload", "UploadPart", "HeadObject", "GetObject"}
    assert all(call[0] == "s3" and call[2].startswith("arrow") for call in calls)
    assert not [call for call in calls if " " in call[1]]
    assert {call.function for call in recording.calls(since)} == {"some-function"}


def test_a_function_runs_in_its_own_interpreter_and_its_calls_have_its_name(bare: Bare):
    """Environment, remaining time, logs, errors and timeouts are Lambda's."""
    emulator, recording = bare
    functions = make_function(
        emulator, "dummy-fetch", Environment={"Variables": {"SERPLINE_NAME": "dummy"}}, Timeout=2
    )
    emulator.client("s3").create_bucket(Bucket="dummy")
    since = recording.mark()
    answer, error = invoke(functions, "dummy-fetch", {"put": "dummy"})
    assert not error
    assert answer["env"]["SERPLINE_NAME"] == "dummy"
    assert answer["env"]["AWS_ENDPOINT_URL"] == recording.url
    assert answer["env"]["AWS_REGION"] == REGION
    assert "build/runtime" in answer["path"]
    assert 0 < answer["left"] <= 2000
    assert [(c.function, c.operation, c.resource) for c in recording.calls(since)] == [
        ("dummy-fetch", "PutObject", "dummy/from/function")
    ]
    answer, error = invoke(functions, "dummy-fetch", {"raise": "what"})
    assert (answer["errorType"], error) == ("KeyError", "Unhandled")
    began = time.monotonic()
    answer, error = invoke(functions, "dummy-fetch", {"sleep": 30})
    assert error
    assert "timed out" in answer["errorMessage"]
    assert time.monotonic() - began < 6
    events = emulator.client("logs").filter_log_events(logGroupName="/aws/lambda/dummy-fetch")["events"]
    assert any("asked for" in event["message"] for event in events)


def test_a_failed_record_comes_again_without_its_neighbours(bare: Bare):
    """SQS to function with partial batch responses; what fails too often goes to the dead-letter queue."""
    emulator, _ = bare
    sqs = emulator.client("sqs")
    dead = sqs.create_queue(QueueName="dummy-dead")["QueueUrl"]
    policy = {"deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:dummy-dead", "maxReceiveCount": 2}
    queue = sqs.create_queue(
        QueueName="dummy", Attributes={"RedrivePolicy": json.dumps(policy), "VisibilityTimeout": "1"}
    )["QueueUrl"]
    functions = make_function(emulator, "dummy-records")
    uuid = functions.create_event_source_mapping(
        FunctionName="dummy-records",
        EventSourceArn=f"arn:aws:sqs:{REGION}:{ACCOUNT}:dummy",
        FunctionResponseTypes=["ReportBatchItemFailures"],
        BatchSize=10,
        ScalingConfig={"MaximumConcurrency": 2},
    )["UUID"]
    bodies = [{"n": n, "fail": n == 3} for n in range(8)]
    sqs.send_message_batch(
        QueueUrl=queue,
        Entries=[{"Id": str(n), "MessageBody": json.dumps(body)} for n, body in enumerate(bodies)],
    )

    def dead_bodies() -> list[Any]:
        received = sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [json.loads(message["Body"]) for message in received.get("Messages", [])]

    until(dead_bodies)
    assert dead_bodies() == [{"n": 3, "fail": True}]
    counts = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == counts["ApproximateNumberOfMessagesNotVisible"] == "0"
    functions.delete_event_source_mapping(UUID=uuid)


def test_faults_reach_callers_and_the_recorder_sees_every_try(bare: Bare, tmp_path: Path):
    """Throttles, resets and lost answers stand in the log, each try a line; without rules all is well."""
    emulator, recording = bare
    emulator.client("s3").create_bucket(Bucket="faults")
    faults = Faults(tmp_path / "faults", emulator.url)
    s3 = client("s3", recording.url)
    s3.put_object(Bucket="faults", Key="before", Body=b"x")  # its connection must follow the turn
    try:
        faults.start()
        recording.turn(faults.url)
        for rule, status in (
            ({**throttle("s3", "PutObject", probability=1), "times": 1}, 503),
            ({**reset("s3", "PutObject", probability=1), "times": 1}, 0),
        ):
            faults.set_rules([rule])
            assert put_statuses(recording, s3) == [status] * rule["times"] + [200]
        assert len(faults.fired()) == 2
        faults.set_rules([])
    finally:
        faults.stop()
        recording.turn(emulator.url)
    recording.lose(("s3", "PutObject", 1.0))
    since = recording.mark()
    hasty = client("s3", recording.url, config=Config(retries={"total_max_attempts": 1}))
    with pytest.raises(BotoCoreError):
        hasty.put_object(Bucket="faults", Key="lost", Body=b"z")
    recording.lose()
    assert [call.lost for call in recording.calls(since) if call.operation == "PutObject"] == [True]
    assert s3.get_object(Bucket="faults", Key="lost")["Body"].read() == b"z"
    assert s3.get_object(Bucket="faults", Key="x")["Body"].read() == b"y" * 1000


def put_statuses(recording: Recording, s3: Any) -> list[int]:
    since = recording.mark()
    s3.put_object(Bucket="faults", Key="x", Body=b"y" * 1000)
    time.sleep(0.05)
    return [call.status for call in recording.calls(since)]


def test_the_recorder_stays_out_of_the_way(bare: Bare):
    """A call through it takes at most 3 ms longer, and a large object passes whole."""
    emulator, recording = bare
    emulator.client("s3").create_bucket(Bucket="speed")
    middles = []
    for url in (emulator.url, recording.url):
        s3, times = client("s3", url), []
        s3.put_object(Bucket="speed", Key="x", Body=b"x")
        for _ in range(60):
            began = time.perf_counter()
            s3.get_object(Bucket="speed", Key="x")["Body"].read()
            times.append(time.perf_counter() - began)
        middles.append(sorted(times)[30])
    assert middles[1] < middles[0] + 0.003
    body = os.urandom(30 << 20)
    s3 = client("s3", recording.url)
    s3.put_object(Bucket="speed", Key="large", Body=body)
    assert s3.get_object(Bucket="speed", Key="large")["Body"].read() == body


def test_stopping_leaves_no_process(tmp_path: Path):
    """Also not a function that is in the middle of its work."""
    emulator = Emulator(tmp_path / "emulator")
    emulator.start()
    functions = make_function(emulator, "dummy-busy", Timeout=60)
    functions.invoke(FunctionName="dummy-busy", InvocationType="Event", Payload=b'{"sleep": 50}')
    until(lambda: processes_of(tmp_path) > 1)
    began = time.monotonic()
    emulator.stop()
    assert time.monotonic() - began < 15
    assert not processes_of(tmp_path)
    emulator.stop()


def processes_of(folder: Path) -> int:
    """How many processes have this folder in their environment."""
    found = 0
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += str(folder).encode() in environ.read_bytes() and environ.parent.name != str(os.getpid())
        except OSError:
            continue
    return found
