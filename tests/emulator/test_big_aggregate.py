"""One event for aggregate with six thousand pointers: in files of bounded size, in bounded memory."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.records import Batch, Page, Result, Task
from stages.staged import encode_staged
from tests.emulator.deploy import PACKAGES, build_packages
from tests.emulator.emulator import ACCOUNT, CALLER, REGION, Emulator
from tests.emulator.recording import Recording
from tests.emulator.tables import Tables
from tests.emulator.tools import function_python

pytestmark = pytest.mark.timeout(300)

POINTERS = 6_000
PAGES_EACH = 100
RESULTS_EACH = 2
MOST_OF_A_FILE = 1_000_000
DRIVER = Path(__file__).with_name("aggregated.py")


def staged_objects() -> Iterator[tuple[str, bytes]]:
    """Keys and bytes; the pages of all batches are alike, which nothing forbids, and are encoded once."""
    tasks = tuple(Task(f"keyword number {n}") for n in range(PAGES_EACH))
    results = tuple(
        Result(
            rank, "organic", f"Title {rank}", f"https://example.org/{rank}", "example.org", "Some words. " * 5
        )
        for rank in range(1, RESULTS_EACH + 1)
    )
    pages = [
        Page(task, 1, "ok", "", 200, 1.7e9, 1.7e9, 10, 1000, "https://example.org/", 9, results)
        for task in tasks
    ]
    batch = Batch("bigbigbigbigbig1", "2026-01-02", 0, 777, "practice_api", "en-US", "desktop", tasks)
    first = zlib.decompressobj(wbits=31)
    header = first.decompress(encode_staged(batch, pages, lane="0"))
    columns = first.unused_data
    assert header.count(b'"batch_no":777') == 1
    for number in range(POINTERS):
        own = header.replace(b'"batch_no":777', b'"batch_no":%d' % number)
        yield f"staging/{batch.run_id}/0/{number}-0.json.gz", gzip.compress(own, 1) + columns


def put_all(emulator: Emulator, bucket: str) -> list[str]:
    """Put the objects, without a client's ceremony; gives the pointers to them."""
    connection = http.client.HTTPConnection(emulator.url.partition("://")[2])
    scope = f"{CALLER}/20260101/{REGION}/s3/aws4_request"
    signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none"}
    pointers = []
    for key, body in staged_objects():
        connection.request("PUT", f"/{bucket}/{key}", body=body, headers=signed)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        pointers.append(json.dumps({"key": key, "pages": PAGES_EACH}))
    connection.close()
    return pointers


def event_of(bodies: list[str], queue: str) -> dict[str, object]:
    """What the mapping hands over, of any size."""
    return {
        "Records": [
            {
                "messageId": f"message-{number}",
                "receiptHandle": f"receipt-{number}",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1795486000000"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
                "awsRegion": REGION,
            }
            for number, body in enumerate(bodies)
        ]
    }


def test_six_thousand_pointers_in_one_event(bare: tuple[Emulator, Recording], tmp_path: Path):
    """600,000 pages: every one committed, files of at most a million results, at most 1 GB of memory."""
    emulator, _ = bare
    build_packages()
    with zipfile.ZipFile(PACKAGES / "heavy-local.zip") as package:
        package.extractall(tmp_path / "package")
    emulator.client("s3").create_bucket(Bucket="big-lake")
    emulator.client("sqs").create_queue(QueueName="big-results")
    emulator.client("glue").create_database(DatabaseInput={"Name": "big"})
    (tmp_path / "event.json").write_text(json.dumps(event_of(put_all(emulator, "big-lake"), "big-results")))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tmp_path / "package"),
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_ACCESS_KEY_ID": CALLER,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SERPLINE_NAME": "big",
        "SERPLINE_LAKE": "s3://big-lake",
        "SERPLINE_CONTACT": "tests@example.org",
        "SERPLINE_TERMS": "{}",
    }
    done = subprocess.run(  # noqa: S603 - ours
        [str(function_python()), str(DRIVER), str(tmp_path / "event.json")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["failed"] == []
    assert told["megabytes"] <= 1024
    table = Tables(emulator.client("glue"), emulator.url, "big").table("pages")
    files = table.inspect.data_files().to_pylist()
    assert sum(file["record_count"] for file in files) == POINTERS * PAGES_EACH
    assert max(file["record_count"] for file in files) * RESULTS_EACH <= MOST_OF_A_FILE
    assert len(files) <= 6  # and few
