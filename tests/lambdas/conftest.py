"""The account, the engine and the log that the functions' tests share."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from tests.lambdas.kit import (
    BUCKET,
    OTHER,
    Account,
    Engine,
    Said,
    serving,
)
from tests.pipeline.aws import KEYS, REGION
from tests.pipeline.kit import API


@pytest.fixture
def engine() -> Iterator[Engine]:
    with serving() as running:
        yield running


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


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What was printed since the last time: metrics, and the log."""
    return capsys.readouterr
