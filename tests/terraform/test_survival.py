"""Two copies in one account; what destroy leaves, and how a later apply finds it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.workspace import Failed, Workspace, of_type

pytestmark = pytest.mark.timeout(300)

BUCKET = "trial-two-000000000000-eu-central-1"


@pytest.fixture(scope="module")
def second(
    workspace: Workspace,
    settings: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    second_notes: Path,
) -> Workspace:
    """Another copy in the account, with source files of its own."""
    sources = tmp_path_factory.mktemp("sources")
    (sources / "mine.toml").write_text('name = "mine"\n')
    mine = {
        "name": "trial-two",
        "sources": {"mine": {"rate": 1}},
        "default_source": None,
        "schedules": {},
        "notify": [],
        "monthly_budget_usd": None,
        "alarms": False,
        "encrypt_with_kms": True,
        "source_files": str(sources),
        "function_environment": {"TRIAL_NOTES": str(second_notes)},
    }
    return workspace.copy(tmp_path_factory.mktemp("second") / "infra", {**settings, **mine})


@pytest.fixture(scope="module")
def second_notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the second copy's functions note their events."""
    return tmp_path_factory.mktemp("notes") / "events.jsonl"


def asked(notes: Path) -> list[str]:
    events = [json.loads(line)["event"] for line in notes.read_text().splitlines()]
    return [event["tf"]["action"] for event in events if "tf" in event]


def test_data_survives_and_is_found_again(
    deployed: Workspace, second: Workspace, second_notes: Path, client: Callable[[str], Any]
):
    s3 = client("s3")
    second.apply()
    assert not of_type(second.state(), "aws_cloudwatch_metric_alarm")
    assert s3.get_object(Bucket=BUCKET, Key="sources/mine.toml")["Body"].read() == b'name = "mine"\n'
    assert not deployed.unchanged()  # a copy beside another changes nothing of it
    s3.put_object(Bucket=BUCKET, Key="tables/pages/data/part.parquet", Body=b"rows")

    # The bucket is not empty, so it stays, with the key that opens it; everything else goes.
    with pytest.raises(Failed, match="BucketNotEmpty"):
        second.destroy()
    assert set(second.state()) == {"aws_s3_bucket.lake", "aws_kms_key.lake[0]"}
    assert asked(second_notes) == ["create", "delete"]
    closed = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert set(closed.values()) == {True}

    # Applied again, it stands over the same data, and the tables are asked for.
    second.apply(force_destroy=True)
    assert asked(second_notes) == ["create", "delete", "create"]
    assert s3.get_object(Bucket=BUCKET, Key="tables/pages/data/part.parquet")["Body"].read() == b"rows"

    # Only who says force_destroy loses it.
    second.destroy()
    assert not second.state()
    buckets = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    assert BUCKET not in buckets
    functions = client("lambda").list_functions()["Functions"]
    assert not [one for one in functions if one["FunctionName"].startswith("trial-two")]
    assert not deployed.unchanged()
