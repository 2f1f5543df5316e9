"""S3 in this process, for tests: buckets, what is called, and answers that are lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config
from moto import mock_aws

BUCKET = "lake-of-tests"


KEY = "keywords/a.txt"


BODY = random.Random(5).randbytes(200_000)


def s3_client(**options: Any) -> Any:
    """A client that finds no credentials of this machine, and waits for nothing."""
    return boto3.client(
        "s3",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106  # no secret
        config=Config(retries={"mode": "standard", "total_max_attempts": 3}, s3={"addressing_style": "path"}),
        **options,
    )


class OneAtATime:
    """moto looks and writes in two steps; S3 decides a conditional write in one."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **asked: Any) -> Any:
        with self._lock:
            return self._client.put_object(**asked)


@contextmanager
def s3_bucket(*, versions: bool = False) -> Iterator[Any]:
    """A client of an empty bucket, in this process."""
    with mock_aws():
        client = s3_client()
        client.create_bucket(Bucket=BUCKET)
        if versions:
            client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield client


def calls(client: Any, *operations: str) -> list[str]:
    """The names of the calls that are made from now on, as they are made."""
    made: list[str] = []
    for name in operations:
        client.meta.events.register(f"before-call.s3.{name}", lambda name=name, **_: made.append(name))
    return made


def lose_one_answer(client: Any, service: str, operation: str) -> None:
    """The first answer of an operation does not reach the driver, which repeats the call."""
    lost: list[int] = []

    def forget(attempts: int, **_: Any) -> int | None:
        if lost:
            return None
        lost.append(attempts)
        return 0

    client.meta.events.register_first(f"needs-retry.{service}.{operation}", forget)
