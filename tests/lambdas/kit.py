"""A deployment in an account of its own, an engine, and Lambda around the functions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import msgspec
import pytest

from pipeline.storage.s3 import S3Storage
from stages.records import Batch
from tests.pipeline.aws import REGION
from tests.pipeline.kit import API, answer

BUCKET = "lake-of-tests"


FETCH = f"serpline-fetch-{API}"


OTHER = "practice_page"


Said = Callable[[], Any]


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
