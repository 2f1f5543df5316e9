"""The operator's commands on a lake in a bucket: what needs no tables, on moto."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import msgspec
import orjson
import pytest
from moto import mock_aws

from pipeline import keys
from pipeline import redrive as redriving
from pipeline.bootstrap import Place
from pipeline.cli import worker_command
from pipeline.cli.main import main
from pipeline.run_control import said_of
from pipeline.runs import find_run
from pipeline.source_files import load_sources
from pipeline.steps.drop import DropStep, DropTerms
from pipeline.storage.s3 import S3Storage
from tests.pipeline.aws import KEYS, REGION
from tests.pipeline.kit import API, LOG, make_run

BUCKET = "lake-of-tests"
LAKE = f"s3://{BUCKET}"

Serpline = Callable[..., tuple[int, str, str]]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account with the bucket and queues of a deployment that has one source."""
    for name, value in {**KEYS, "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(redriving, "LOOK", 0.0)
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        sqs = boto3.client("sqs")
        for queue in ("keywords", f"fetch-{API}", "results"):
            for suffix in ("", "-dead"):
                sqs.create_queue(QueueName=f"serpline-{queue}{suffix}")
        yield


@pytest.fixture
def serpline(aws: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Serpline:
    assert aws is None
    monkeypatch.setenv("SERPLINE_LAKE", LAKE)

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def storage() -> S3Storage:
    return S3Storage(boto3.client("s3"), BUCKET)


def event(key: str, version: str) -> bytes:
    record: dict[str, Any] = {
        "eventName": "ObjectCreated:CompleteMultipartUpload",
        "s3": {"bucket": {"name": BUCKET}, "object": {"key": quote_plus(key), "versionId": version}},
    }
    return orjson.dumps({"Records": [record]})


@pytest.mark.parametrize("name", ["list.csv", "my list+100%é.csv"])
def test_submit_prints_the_id_that_the_event_gives_the_run(serpline: Serpline, tmp_path: Path, name: str):
    """The file is dropped with its options in the key; the drop that S3 announces is that very run."""
    path = tmp_path / name
    path.write_text("keyword\njson dumps\n")
    code, out, err = serpline(
        "submit", path, "--source", API, "--locale", "de-DE", "--pages", "2", "--spread", "6h"
    )
    assert code == 0, err
    [version] = boto3.client("s3").list_object_versions(Bucket=BUCKET)["Versions"]
    key = version["Key"]
    assert key.startswith(f"keywords/source={API}/locale=de-DE/pages=2/spread=6h/")
    assert key.endswith(f"/{name}")
    step = DropStep(
        storage(), load_sources(None), DropTerms(BUCKET, "practice_page", "desktop"), lambda: 1.8e9, LOG
    )
    [run] = step(event(key, version["VersionId"]))
    assert out == f"{run.run_id}\n"
    assert f"`serpline status {run.run_id}" in err
    assert (run.refused, run.options.source, run.options.locale, run.options.pages) == ("", API, "de-DE", 2)
    assert run.spread == 21_600.0
    assert serpline("submit", path, "--spread", "a while")[0] == 2
    # The same file once more is a run of its own.
    assert serpline("submit", path)[1] not in ("", out)


@pytest.mark.parametrize(
    "words",
    [["--source", "a/b"], ["--locale", "not one"], ["--device", "toaster"], ["--broker", "redis://x"]],
    ids=" ".join,
)
def test_a_drop_that_cannot_be_is_refused_before_it_is_stored(
    serpline: Serpline, tmp_path: Path, words: list[str]
):
    path = tmp_path / "list.txt"
    path.write_text("json dumps\n")
    code, out, err = serpline("submit", path, *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert not list(storage().keys("keywords/"))


def test_a_bucket_without_versions_says_that_the_id_is_unknown(serpline: Serpline, tmp_path: Path):
    boto3.client("s3").create_bucket(Bucket="plain", CreateBucketConfiguration={"LocationConstraint": REGION})
    path = tmp_path / "list.txt"
    path.write_text("json dumps\n")
    code, out, err = serpline("submit", path, "--lake", "s3://plain")
    assert (code, out) == (1, "")
    assert "keeps no versions" in err


def test_pause_resume_and_cancel_need_no_tables(serpline: Serpline):
    run = make_run("keywords/x/k.txt", by="workers")
    storage().put(keys.run(run.run_id), msgspec.json.encode(run))
    for word, said in (("pause", "paused"), ("resume", ""), ("cancel", "cancelled")):
        assert serpline(word, "run")[0] == 0
        assert said_of(storage(), run.run_id) == said
    assert find_run(storage(), run.run_id) == run
    storage().put(keys.complete(run.run_id), b"{}")
    assert serpline("pause", "run")[0] == 2


def test_redrive_takes_the_sources_that_are_deployed(serpline: Serpline):
    """Of the sources that ship, one has queues here; a name of another deployment says what is wrong."""
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=f"serpline-fetch-{API}-dead")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    assert serpline("redrive", "fetch")[:2] == (0, f"1 message sent again to serpline-fetch-{API}\n")
    assert serpline("redrive", "shard")[1] == "0 messages sent again to serpline-keywords\n"
    code, _, err = serpline("redrive", "fetch", "--source", "brave")
    assert code == 2
    assert "serpline-fetch-brave" in err


def test_redrive_under_another_name_says_so(serpline: Serpline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SERPLINE_NAME", "elsewhere")
    for words in (["redrive", "fetch"], ["redrive", "aggregate"]):
        code, out, err = serpline(*words)
        assert (code, out) == (2, "")
        assert "elsewhere" in err
        assert "`terraform apply`" in err


def test_a_worker_on_aws_ends_its_batches_before_sqs_takes_them_back(
    serpline: Serpline, monkeypatch: pytest.MonkeyPatch
):
    """It needs no broker; a process has no time limit of its own, so it is given one."""
    seen: list[Place] = []
    monkeypatch.setattr(worker_command, "shard_worker", lambda place, *_: seen.append(place))
    monkeypatch.setattr(worker_command.signal, "signal", lambda *_: None)
    assert serpline("worker", "shard", "--lake", LAKE)[0] == 0
    assert [(place.lake, place.longest) for place in seen] == [(LAKE, 450.0)]


def deploy(**pace: object) -> None:
    """What `apply` leaves in the bucket of its one source."""
    storage().put(keys.TERMS, orjson.dumps({API: {"rate": 0.25, "burst": 1, "concurrency": 1, **pace}}))


def test_a_worker_asks_at_the_pace_of_the_deployment(serpline: Serpline, monkeypatch: pytest.MonkeyPatch):
    """As its functions do, whatever the source file says; without knowing it, none begins."""
    seen: list[float] = []
    monkeypatch.setattr(
        worker_command, "fetch_worker", lambda _place, one, *_: seen.append(one.source.spec.politeness.rate)
    )
    monkeypatch.setattr(worker_command.signal, "signal", lambda *_: None)
    words = ("worker", "fetch", "--source", API)
    code, out, err = serpline(*words)
    assert (code, out, seen) == (2, "", [])
    assert "apply it again" in err
    assert "SERPLINE_TERMS" in err
    deploy()
    assert serpline(*words)[0] == 0
    assert seen == [0.25]
    monkeypatch.setenv("SERPLINE_TERMS", orjson.dumps({API: {"rate": 0.125}}).decode())
    assert serpline(*words)[0] == 0
    assert seen == [0.25, 0.125]
    monkeypatch.delenv("SERPLINE_TERMS")
    storage().put(keys.TERMS, b"{")
    assert serpline(*words)[0] == 2
    assert len(seen) == 2


@pytest.mark.parametrize(("quota", "warnings"), [(1, 1), (2, 0), (None, 0)])
def test_submit_warns_of_the_deployments_quota(
    serpline: Serpline, tmp_path: Path, quota: int | None, warnings: int
):
    """Not of the file's: `apply` may have said another."""
    path = tmp_path / "list.txt"
    path.write_text("one\ntwo\n")
    deploy(quota=quota)
    code, _, err = serpline("submit", path, "--source", API)
    assert code == 0
    assert err.count("2 tasks take 2 days of its quota of 1 requests a day") == warnings
