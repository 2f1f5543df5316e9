"""The functions as Lambda calls them: events in, partial responses and metrics out."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import msgspec
import pytest
from moto import mock_aws

from pipeline import keys
from pipeline.errors import CatalogUnavailable, Misuse, PipelineError, StorageUnavailable
from pipeline.functions.conduct import open_conduct
from pipeline.functions.fetch import open_fetch
from pipeline.functions.runtime import MARGIN, Handler, Opened, Remaining, action_function, queue_function
from pipeline.functions.shard import open_shard
from pipeline.run_control import say
from pipeline.runs import all_runs
from pipeline.storage.s3 import S3Storage
from pipeline.worker import BatchHandler, one_by_one
from stages.pace import PaceState
from stages.records import Batch, Pointer
from stages.staged import decode_staged
from tests.pipeline.aws import KEYS, REGION
from tests.pipeline.kit import API, answer, api_source, make_batch, make_run

BUCKET = "lake-of-tests"
FETCH = f"serpline-fetch-{API}"
OTHER = "practice_page"


class Context:
    """What Lambda says of an invocation that may last so long."""

    aws_request_id = "request-1"

    def __init__(self, seconds: float = 300.0) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)


class Engine:
    """The JSON interface of an engine, on this machine."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 200
        self.url = ""


@contextmanager
def serving() -> Iterator[Engine]:
    engine = Engine()

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            keyword = parse_qs(urlsplit(self.path).query)["q"][0]
            engine.asked.append(keyword)
            body = answer(keyword).body if engine.status == 200 else b""
            self.send_response(engine.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    engine.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield engine
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    with serving() as running:
        yield running


class Account:
    """A deployment in an account of its own, with what Lambda does around its functions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._environment = monkeypatch
        self.sqs = boto3.client("sqs")
        self.storage = S3Storage(boto3.client("s3"), BUCKET)
        self.set("NAME", "serpline")
        self.set("LAKE", f"s3://{BUCKET}")
        self.set("SOURCE", API)
        self.terms()

    def set(self, name: str, value: str) -> None:
        self._environment.setenv(f"SERPLINE_{name}", value)

    def terms(self, rate: float = 1000.0, burst: int = 100, base_url: str = "") -> None:
        pace = {"rate": rate, "burst": burst, "concurrency": 2}
        self.set("TERMS", json.dumps({API: {**pace, "base_url": base_url}, OTHER: pace}))

    def url(self, queue: str) -> str:
        return self.sqs.get_queue_url(QueueName=queue)["QueueUrl"]

    def drawn(self, queue: str) -> list[bytes]:
        """What a queue holds that is due now, taken out."""
        bodies = []
        while got := self.sqs.receive_message(QueueUrl=self.url(queue), MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for one in got:
                self.sqs.delete_message(QueueUrl=self.url(queue), ReceiptHandle=one["ReceiptHandle"])
                bodies.append(one["Body"].encode())
        return bodies

    def delayed(self, queue: str) -> int:
        asked = self.sqs.get_queue_attributes(QueueUrl=self.url(queue), AttributeNames=["All"])["Attributes"]
        return int(asked["ApproximateNumberOfMessagesDelayed"])

    def event(self, queue: str, *bodies: bytes | str) -> dict[str, Any]:
        """What a queue's mapping hands over after these bodies were sent."""
        for body in bodies:
            text = body if isinstance(body, str) else body.decode()
            self.sqs.send_message(QueueUrl=self.url(queue), MessageBody=text)
        got = self.sqs.receive_message(
            QueueUrl=self.url(queue), MaxNumberOfMessages=10, AttributeNames=["All"]
        )
        records = [
            {
                "messageId": one["MessageId"],
                "receiptHandle": one["ReceiptHandle"],
                "body": one["Body"],
                "attributes": one["Attributes"],
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:123456789012:{queue}",
                "awsRegion": REGION,
            }
            for one in got["Messages"]
        ]
        assert len(records) == len(bodies)
        return {"Records": records}

    def drop(self, key: str, body: bytes) -> str:
        """Put a file; gives the notification that S3 sends."""
        told = boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
        record = {
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": BUCKET}, "object": {"key": key, "versionId": told["VersionId"]}},
        }
        return json.dumps({"Records": [record]})


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    for name, value in {**KEYS, "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "SERPLINE_CONTACT", "SERPLINE_SOURCES"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        s3, sqs = boto3.client("s3"), boto3.client("sqs")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        for queue in ("keywords", "results", f"fetch-{API}", f"fetch-{OTHER}"):
            for suffix in ("", "-dead"):
                sqs.create_queue(QueueName=f"serpline-{queue}{suffix}")
        boto3.client("dynamodb").create_table(
            TableName="serpline-pace",
            KeySchema=[{"AttributeName": "source", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "source", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield Account(monkeypatch)


def metrics_of(out: str) -> dict[str, Any]:
    """The values of all lines of metrics; every line on standard output must be one."""
    said: dict[str, Any] = {}
    for line in out.splitlines():
        told = json.loads(line)
        [cloudwatch] = told.pop("_aws")["CloudWatchMetrics"]
        assert cloudwatch["Namespace"] == "Serpline/serpline"
        said |= told
    return said


def batch_body(batch: Batch) -> bytes:
    return msgspec.json.encode(batch)


def batches(bodies: list[bytes]) -> list[Batch]:
    return [msgspec.json.decode(body, type=Batch) for body in bodies]


Said = Callable[[], Any]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What was printed since the last time: metrics, and the log."""
    return capsys.readouterr


def test_a_dropped_file_is_sharded(account: Account, said: Said):
    """One event from S3: a frozen run, its batches, its row; metrics in the log."""
    handler = queue_function(open_shard)
    event = account.event("serpline-keywords", account.drop("keywords/k.txt", b"one\ntwo\ntwo\n"))
    assert handler(event, Context(900)) == {"batchItemFailures": []}
    [run] = all_runs(account.storage)
    [batch] = batches(account.drawn(FETCH))
    assert (batch.run_id, [task.keyword for task in batch.tasks]) == (run.run_id, ["one", "two"])
    [pointer] = [msgspec.json.decode(body, type=Pointer) for body in account.drawn("serpline-results")]
    assert pointer.key == keys.staged_shard(run.run_id, 0)
    out, err = said()
    counted = metrics_of(out)
    assert (counted["stage"], counted["tasks"], counted["duplicates"]) == ("shard", 2, 1)
    assert counted["lag_s"][0] >= 0
    logged = [json.loads(line) for line in err.splitlines()]
    assert {line["request_id"] for line in logged} == {"request-1"}
    assert any(line["event"] == "part sharded" and line["run_id"] == run.run_id for line in logged)


def test_one_bad_record_fails_no_neighbour_and_is_buried_with_its_reason(account: Account, said: Said):
    """What cannot be read goes to the dead-letter queue at once; what may pass is reported by itself."""
    account.storage.put(keys.run("bad"), b"{")
    good = account.drop("keywords/k.txt", b"one\n")
    event = account.event(
        "serpline-keywords", good, '{"hello": 1}', '{"run_id": "bad", "part": 0}', '{"keywords": ["x"]}'
    )
    assert queue_function(open_shard)(event, Context()) == {"batchItemFailures": []}
    keywords = [task.keyword for batch in batches(account.drawn(FETCH)) for task in batch.tasks]
    assert sorted(keywords) == ["one", "x"]
    assert sorted(account.drawn("serpline-keywords-dead")) == [
        b'{"hello": 1}',
        b'{"run_id": "bad", "part": 0}',
    ]
    out, err = said()
    failed = [json.loads(line) for line in err.splitlines() if "message failed" in line]
    assert ["this one has hello" in line["error"] for line in failed] == [True, False]
    assert "the record of run bad is damaged" in failed[1]["error"]
    assert metrics_of(out)["messages_failed"] == 0


def failing(fail: Callable[[bytes], None]) -> Handler:
    """A function in the deployment whose step fails as a test wants."""

    def open_failing(remaining: Remaining) -> tuple[Opened, BatchHandler]:
        return open_shard(remaining)[0], one_by_one(fail)

    return queue_function(open_failing)


def test_what_may_pass_is_reported_by_itself_and_buried_at_last(account: Account, said: Said):
    """Lambda gets its id back and its neighbour's not; the fifth time it is buried with the reason."""

    def fail(body: bytes) -> None:
        if body == b'"later"':
            raise StorageUnavailable("away")

    event = account.event("serpline-keywords", '"later"', '"ok"')
    [later] = [record for record in event["Records"] if record["body"] == '"later"']
    handler = failing(fail)
    assert handler(event, Context(MARGIN)) == {"batchItemFailures": [{"itemIdentifier": later["messageId"]}]}
    assert account.drawn("serpline-keywords-dead") == []
    assert metrics_of(said()[0])["messages_failed"] == 1
    later["attributes"]["ApproximateReceiveCount"] = "5"
    assert handler({"Records": [later]}, Context(MARGIN)) == {"batchItemFailures": []}
    assert account.drawn("serpline-keywords-dead") == [b'"later"']
    out, err = said()
    assert metrics_of(out)["messages_failed"] == 0
    assert "away" in err


def test_a_defect_is_reported_with_its_place_and_buries_nothing(account: Account, said: Said):
    def fail(body: bytes) -> None:
        raise ZeroDivisionError(body.decode())

    event = account.event("serpline-keywords", '"a"', '"b"')
    failed = {record["messageId"] for record in event["Records"]}
    reported = failing(fail)(event, Context(MARGIN))["batchItemFailures"]
    assert {one["itemIdentifier"] for one in reported} == failed
    _, err = said()
    assert err.count("Traceback") == 2


def test_an_outage_reports_every_message_and_is_logged_once(account: Account, said: Said):
    """A stage that works on all at once, as aggregate does: none of them is done, none is to blame."""

    def open_away(remaining: Remaining) -> tuple[Opened, BatchHandler]:
        def away(_bodies: Sequence[bytes]) -> Mapping[int, Exception]:
            raise CatalogUnavailable("the catalog is away")

        return open_shard(remaining)[0], away

    event = account.event("serpline-results", '"a"', '"b"')
    assert len(queue_function(open_away)(event, Context(MARGIN))["batchItemFailures"]) == 2
    assert account.drawn("serpline-results-dead") == []
    assert said()[1].count("the catalog is away") == 1


def test_an_opening_that_failed_is_tried_again(account: Account):
    """A wrong setting fails the invocation, so that nothing is lost; the next one is opened anew."""
    handler = queue_function(open_shard)
    account.set("TERMS", '{"nobody": {"rate": 1}}')
    event = account.event("serpline-keywords", '{"keywords": ["x"]}')
    with pytest.raises(Misuse, match="no source file for nobody"):
        handler(event, Context())
    account.terms()
    assert handler(event, Context()) == {"batchItemFailures": []}
    assert len(account.drawn(FETCH)) == 1


@pytest.mark.parametrize(
    "event", [{}, None, [], {"action": "ledger"}, {"Records": []}, {"Records": [{"eventSource": "aws:s3"}]}]
)
def test_an_event_of_something_else_is_answered(account: Account, said: Said, event: Any):
    """Nobody's message is lost by it, and nothing is done for it."""
    assert queue_function(open_shard)(event, Context()) == {"batchItemFailures": []}
    _, err = said()
    assert "event ignored" in err
    assert list(account.storage.keys("")) == []


def fetching(account: Account, engine: Engine, lane: str = "0", **pace: float) -> Handler:
    """The fetch function of one lane, its source pointed at an engine here."""
    account.terms(base_url=engine.url, **pace)  # type: ignore[arg-type]
    account.set("LANE", lane)
    return queue_function(open_fetch)


def test_a_batch_is_asked_staged_and_pointed_to(account: Account, engine: Engine, said: Said):
    """A warm function does the same with its second event, over connections of its own."""
    handler = fetching(account, engine, lane="1")
    for number in (1, 2):
        batch = make_batch(["a", "b"], batch_no=number)
        assert handler(account.event(FETCH, batch_body(batch)), Context()) == {"batchItemFailures": []}
        pages = decode_staged(account.storage.get(keys.staged(batch)))
        assert sorted(pages.columns.pages.keyword) == ["a", "b"]
        assert set(pages.columns.pages.status) == {"ok"}
        assert pages.header.lane == "1"
        [pointer] = account.drawn("serpline-results")
        assert msgspec.json.decode(pointer) == {"key": keys.staged(batch), "pages": 2}
        counted = metrics_of(said()[0])
        assert (counted["source"], counted["pages_ok"]) == (API, 2)
        assert len(counted["latency_ms"]) == 2
    assert len(engine.asked) == 4


def test_a_batch_delivered_twice_is_asked_once(account: Account, engine: Engine):
    handler = fetching(account, engine)
    body = batch_body(make_batch(["a", "b"]))
    assert handler(account.event(FETCH, body, body), Context()) == {"batchItemFailures": []}
    assert len(engine.asked) == 2
    first, second = account.drawn("serpline-results")
    assert first == second


def test_bad_batches_fail_no_neighbour(account: Account, engine: Engine, said: Said):
    """Rubbish and a damaged object are buried with their reasons; the good one is asked."""
    damaged, good = make_batch(["a"]), make_batch(["b"], batch_no=2)
    account.storage.put(keys.staged(damaged), b"broken")
    event = account.event(FETCH, '{"no": "batch"}', batch_body(damaged), batch_body(good))
    assert fetching(account, engine)(event, Context()) == {"batchItemFailures": []}
    assert engine.asked == ["b"]
    assert Counter(account.drawn(f"{FETCH}-dead")) == {b'{"no": "batch"}': 1, batch_body(damaged): 1}
    _, err = said()
    assert "a message of a fetch queue holds no batch" in err
    assert f"staged object {keys.staged(damaged)}" in err


@pytest.mark.timeout(60)
def test_out_of_time_it_stages_what_it_has_and_sends_the_rest(account: Account, engine: Engine):
    """It ends well before Lambda would end it; the remainder goes on where it was, nothing is asked twice."""
    handler = fetching(account, engine, rate=10.0, burst=1)
    batch = make_batch([f"k{number}" for number in range(40)])
    began = time.monotonic()
    event = account.event(FETCH, batch_body(batch))
    longest = api_source().source.spec.limits.timeout
    assert handler(event, Context(MARGIN + longest + 1.5)) == {"batchItemFailures": []}
    assert time.monotonic() - began < MARGIN / 2
    staged = decode_staged(account.storage.get(keys.staged(batch)))
    done = list(staged.columns.pages.keyword)
    assert 5 <= len(done) <= 20
    assert sorted(done) == sorted(engine.asked)
    rest = staged.header.remainder
    assert rest is not None
    assert (rest.cut, rest.hop) == (1, 0)
    assert sorted([*done, *(task.keyword for task in rest.tasks)]) == sorted(t.keyword for t in batch.tasks)
    assert account.delayed(FETCH) + len(account.drawn(FETCH)) == 1
    assert len(account.drawn("serpline-results")) == 1


def test_without_time_a_batch_goes_back_whole(account: Account, engine: Engine):
    """The second of several batches finds no time left: its body waits, with no attempt spent."""
    event = account.event(FETCH, batch_body(make_batch(["a"])))
    assert fetching(account, engine)(event, Context(MARGIN - 1)) == {"batchItemFailures": []}
    assert engine.asked == []
    assert account.delayed(FETCH) == 1
    assert list(account.storage.keys(keys.STAGING)) == []


def test_a_refusal_is_known_to_the_next_function(account: Account, engine: Engine, said: Said):
    """Lanes share one state: what one is refused, no other asks."""
    engine.status = 403
    event = account.event(FETCH, batch_body(make_batch(["a", "b", "c"])))
    assert fetching(account, engine, rate=5.0, burst=1)(event, Context()) == {"batchItemFailures": []}
    asked = len(engine.asked)
    assert 1 <= asked <= 2
    event = account.event(FETCH, batch_body(make_batch(["d"], batch_no=2)))
    assert fetching(account, engine, lane="1")(event, Context()) == {"batchItemFailures": []}
    assert len(engine.asked) == asked
    assert account.delayed(FETCH) == 2
    assert "source closed" in said()[1]


def test_a_cancelled_run_asks_nothing(account: Account, engine: Engine):
    batch = make_batch(["a"])
    say(account.storage, batch.run_id, "cancelled", time.time())
    fetching(account, engine)(account.event(FETCH, batch_body(batch)), Context())
    assert engine.asked == []
    pages = decode_staged(account.storage.get(keys.staged(batch))).columns.pages
    assert (list(pages.status), list(pages.reason)) == (["refused"], ["cancelled"])


def test_no_contact_no_live_run(account: Account):
    """A source beyond this machine is not asked by nobody in particular."""
    account.terms(base_url="https://search.example")
    event = account.event(FETCH, batch_body(make_batch(["a"])))
    with pytest.raises(Misuse, match="SERPLINE_CONTACT"):
        queue_function(open_fetch)(event, Context())


def mapping_of(queue: str, lane: int) -> str:
    """The uuid of a lane's mapping of a queue of no messages: moto would run the function for each."""
    iam, functions = boto3.client("iam"), boto3.client("lambda")
    name = f"{queue}-{lane}"
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x.py", "")
    functions.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role,
        Handler="x.y",
        Code={"ZipFile": packed.getvalue()},
    )
    arn = f"arn:aws:sqs:{REGION}:123456789012:{queue}"
    return functions.create_event_source_mapping(FunctionName=name, EventSourceArn=arn, Enabled=True)["UUID"]


def working(*mappings: str) -> list[bool]:
    client = boto3.client("lambda")
    return [client.get_event_source_mapping(UUID=uuid)["State"] == "Enabled" for uuid in mappings]


def close_source(account: Account, source: str, seconds: float) -> None:
    now = time.time()
    state = PaceState(closed_since=now, closed_until=now + seconds, refusals=1, reason="captcha")
    boto3.client("dynamodb").put_item(
        TableName="serpline-pace",
        Item={
            "source": {"S": source},
            "state": {"S": msgspec.json.encode(state).decode()},
            "version": {"N": "1"},
            "holder": {"S": "x"},
        },
    )
    assert account is not None


def test_conduct_switches_lanes_and_releases_the_backlog(account: Account, said: Said):
    """One lane of each source works; what waits goes to the queue as it has room; all is told by source."""
    lanes = [mapping_of("serpline-results", lane) for lane in range(2)]
    others = [mapping_of("serpline-results", 2)]
    account.set("MAPPINGS", json.dumps({API: lanes, OTHER: others}))
    account.set("HORIZON", "60")
    run = make_run("keywords/k.txt")
    folder = keys.backlog_of(API, run.created_at, run.run_id)
    body = batch_body(make_batch(["a", "b"])) + b"\n"
    account.storage.put(keys.backlog_chunk(folder, 0, 1, 2), body)
    close_source(account, OTHER, 3600.0)
    answer = action_function(open_conduct)({"action": "conduct"}, Context(60))
    assert working(*lanes) == [True, False]
    assert working(*others) == [False]
    assert (answer[API]["lane"], answer[API]["released"], answer[API]["backlog"]) == (0, 2, 0)
    assert (answer[OTHER]["working"], answer[OTHER]["closed"]) == (False, "captcha")
    assert batches(account.drawn(FETCH)) == [make_batch(["a", "b"])]
    assert list(account.storage.keys(keys.BACKLOG)) == []
    told = {line["source"]: line for line in map(json.loads, said()[0].splitlines()) if "source" in line}
    assert {source: line["closed"] for source, line in told.items()} == {API: 0, OTHER: 1}
    assert told[API]["backlog_tasks"] == 0
    assert told[API]["queue_depth"] == 1


def test_conduct_lets_one_sources_trouble_keep_no_other_waiting(account: Account, said: Said):
    """A mapping that is not there fails the function, after the others had their look."""
    lanes = [mapping_of("serpline-results", lane) for lane in range(2)]
    account.set("MAPPINGS", json.dumps({OTHER: ["00000000-0000-0000-0000-000000000000"], API: lanes}))
    with pytest.raises(PipelineError):
        action_function(open_conduct)({"action": "conduct"}, Context(60))
    assert working(*lanes) == [True, False]
    out, err = said()
    assert "source not conducted" in err
    assert API in out


@pytest.mark.parametrize("event", [{}, None, {"action": "dance"}, {"Records": []}, "conduct"])
def test_an_action_that_is_none_is_misuse_that_names_those_there_are(account: Account, event: Any):
    assert account is not None
    with pytest.raises(Misuse, match="an event with action conduct"):
        action_function(open_conduct)(event, Context())
