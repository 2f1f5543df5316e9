"""The place on AWS: the sources as they were deployed, and secrets from where AWS keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import msgspec
import pytest
from moto import mock_aws

from pipeline import keys
from pipeline.backlog import BacklogOutlet
from pipeline.bootstrap import Place, open_place
from pipeline.bootstrap_aws import LONGEST_SHARD, AwsClients, aws_clients, open_aws_place
from pipeline.errors import Misuse, PipelineError
from pipeline.settings import Pace, Settings, read_settings
from pipeline.source_files import load_sources, read_secrets, renamed
from stages.pace import Lease
from tests.pipeline.aws import KEYS, REGION
from tests.pipeline.kit import API, make_batch, make_run

BUCKET = "lake-of-tests"
LAKE = f"s3://{BUCKET}"
VALUE = "k3y-T0ken_that.nobody/sees"
TERMS = {API: Pace(2.5, burst=3, concurrency=4)}


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account with a bucket."""
    for name, value in {**KEYS, "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        boto3.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield


def put(key: str, text: str) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=text.encode())


def place(**given: Any) -> Place:
    return open_aws_place(Settings(**{"terms": TERMS, "lake": LAKE, **given}), lake=LAKE)


def own(name: str, *, base: str = "http://127.0.0.1:1", secret: str = "") -> str:
    """The text of a source file of one's own."""
    text = renamed(load_sources(None)[API].text, name, base)
    header = f'headers = {{ Authorization = "Bearer {{secret:{secret}}}" }}\n' if secret else ""
    return text.replace("[request]\n", f"[request]\n{header}")


def test_the_place_is_the_bucket_with_what_holds_on_aws():
    opened = place(lane="1", contact="me@example.org", source=API, horizon=60.0)
    assert (opened.lake, opened.lane, opened.drops.bucket, opened.drops.source) == (LAKE, "1", BUCKET, API)
    assert opened.drops.longest == LONGEST_SHARD
    assert "me@example.org" in opened.user_agent
    assert opened.storage.put_new("runs/x", b"1")
    assert isinstance(opened.open_outlet(opened.open_queues()), BacklogOutlet)
    assert open_place(Settings(terms=TERMS), lake=f"{LAKE}/").lake == LAKE


def test_sources_are_the_deployed_ones_at_the_deployed_pace():
    """The fleet's rate is what was applied, whatever the file says; the rest of the file holds."""
    opened = place()
    assert set(opened.sources) == {API}
    terms = opened.sources[API].source.spec.politeness
    shipped = load_sources(None)[API].source
    assert (terms.rate, terms.burst, terms.concurrency) == (2.5, 3, 4)
    assert terms.rest == shipped.spec.politeness.rest
    assert opened.sources[API].source.spec.request == shipped.spec.request


def test_shard_sends_no_more_than_a_quota_reaches():
    """The file's quota holds beside the deployment's rate: the rest is written as backlog."""
    put(keys.own_source(API), own(API).replace("[politeness]\n", "[politeness]\nquota = 40\n"))
    boto3.client("sqs").create_queue(QueueName=keys.fetch_queue("serpline", API))
    opened = place(name="serpline", horizon=21_600.0)
    queues = opened.open_queues()
    sender = opened.open_outlet(queues)(make_run("keywords/k.txt"), 0)
    sender.send(API, [make_batch(["a"], batch_no=number) for number in range(1, 31)])
    sender.end()
    assert queues.fetch(API).depth().waiting == 10
    assert any(opened.storage.keys(keys.BACKLOG))


def test_a_deployment_may_have_another_quota():
    """Who pays for more may ask for more; what is left out is the file's, and 0 is no quota."""
    for said, holds in ((None, 64), (5_000, 5_000), (0, 0)):
        opened = place(terms={"brave": Pace(1.0, quota=said)})
        assert opened.sources["brave"].source.spec.politeness.quota == holds


def test_a_deployment_that_names_none_has_all():
    assert set(place(terms={}).sources) == set(load_sources(None))


def test_a_file_in_the_bucket_comes_before_the_shipped_one():
    """It may replace one of the same name, or add one; what is not deployed is not even read."""
    put(keys.own_source(API), own(API, base="http://127.0.0.1:7"))
    put(keys.own_source("mine"), own("mine"))
    put(keys.own_source("other"), "this is no source file")
    opened = place(terms={**TERMS, "mine": Pace(1.0)})
    assert set(opened.sources) == {API, "mine"}
    assert opened.sources[API].source.spec.base_url == "http://127.0.0.1:7"
    assert opened.sources["mine"].source.spec.politeness.rate == 1.0


def test_a_function_of_one_source_reads_no_other():
    """A wrong file of one source keeps no other source's functions from opening."""
    put(keys.own_source("mine"), own("mine"))
    put(keys.own_source("other"), "this is no source file")
    settings = Settings(lake=LAKE, terms={"mine": Pace(1.0), "other": Pace(1.0)})
    assert set(open_aws_place(settings, lake=LAKE, only="mine").sources) == {"mine"}


def test_a_source_without_a_file_is_misuse_that_says_where_to_put_it():
    with pytest.raises(
        Misuse, match=r"no source file for a_one, b_two: put it at sources/a_one\.toml in the"
    ):
        place(terms={**TERMS, "b_two": Pace(1.0), "a_one": Pace(1.0)})


@pytest.mark.parametrize("text", ["", "rubbish", "\xff\xfe"])
def test_a_wrong_file_in_the_bucket_is_named(text: str):
    put(keys.own_source("mine"), text)
    with pytest.raises(Misuse, match=r"sources/mine\.toml"):
        place(terms={"mine": Pace(1.0)})


def test_a_file_under_another_name_is_misuse():
    put(keys.own_source("mine"), own("yours"))
    with pytest.raises(Misuse, match="its name must be 'mine'"):
        place(terms={"mine": Pace(1.0)})


def test_a_deployment_may_point_a_source_elsewhere():
    opened = place(terms={API: Pace(1.0, base_url="http://127.0.0.1:9")})
    assert opened.sources[API].source.spec.base_url == "http://127.0.0.1:9"
    assert place().sources[API].source.spec.base_url == load_sources(None)[API].source.spec.base_url


@pytest.mark.parametrize("lake", ["s3://", "s3://a/b", "lake"])
def test_a_lake_that_is_no_bucket_is_misuse(lake: str):
    with pytest.raises(Misuse, match="s3://BUCKET"):
        open_aws_place(Settings(), lake=lake)


def test_the_region_must_be_known(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(Misuse, match="AWS_REGION"):
        _ = AwsClients(boto3.session.Session()).region


def test_the_region_is_the_one_that_is_said(monkeypatch: pytest.MonkeyPatch):
    """``AWS_REGION`` as everyone writes it, before the profile's; boto3 alone looks past it."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert aws_clients(read_settings({})).region == "eu-west-1"
    said = aws_clients(read_settings({"AWS_REGION": "ap-southeast-2"}))
    assert (said.region, said.s3.meta.region_name) == ("ap-southeast-2", "ap-southeast-2")


def test_paces_are_kept_in_the_table_of_the_deployment():
    """Made at first use: a place without the table opens all the same."""
    opened = place(name="mine")
    terms = opened.sources[API].source.spec.politeness
    with pytest.raises(PipelineError, match="mine-pace"):
        opened.pacer.lease(API, terms, 1, 60.0)
    boto3.client("dynamodb").create_table(
        TableName="mine-pace",
        KeySchema=[{"AttributeName": "source", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "source", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    assert isinstance(opened.pacer.lease(API, terms, 1, 60.0), Lease)
    assert opened.pacer.state(API).leases == 1


def kept_secret(value: str) -> str:
    return boto3.client("secretsmanager").create_secret(Name="brave", SecretString=value)["ARN"]


def kept_parameter(value: str) -> str:
    boto3.client("ssm").put_parameter(Name="/serpline/brave", Value=value, Type="SecureString")
    return f"arn:aws:ssm:{REGION}:123456789012:parameter/serpline/brave"


@pytest.mark.parametrize("keep", [kept_secret, kept_parameter])
def test_a_secret_is_read_from_where_its_arn_says(keep: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SERPLINE_SECRET_ARN_KEYED", keep(f" {VALUE}\n"))
    put(keys.own_source("keyed"), own("keyed", secret="KEYED"))  # noqa: S106  # a name
    opened = place(terms={"keyed": Pace(1.0)})
    assert read_secrets(opened.sources["keyed"].source, opened.read_secret) == {"KEYED": VALUE}


def test_without_an_arn_the_variable_is_read(monkeypatch: pytest.MonkeyPatch):
    """Workers of one's own have it in their environment."""
    monkeypatch.setenv("SERPLINE_SECRET_KEYED", VALUE)
    assert place().read_secret("KEYED") == VALUE
    monkeypatch.delenv("SERPLINE_SECRET_KEYED")
    with pytest.raises(Misuse, match="SERPLINE_SECRET_KEYED"):
        place().read_secret("KEYED")


@pytest.mark.parametrize("keep", [kept_secret, kept_parameter])
@pytest.mark.parametrize("value", [f"{VALUE}\r\nX: 1", f"{VALUE}ключ", f"{VALUE}\x00"])
def test_a_secret_that_no_header_carries_is_not_shown(keep: Any, value: str, monkeypatch: pytest.MonkeyPatch):
    arn = keep(value)
    monkeypatch.setenv("SERPLINE_SECRET_ARN_KEYED", arn)
    with pytest.raises(Misuse) as raised:
        place().read_secret("KEYED")
    assert arn in str(raised.value)
    assert VALUE not in repr(raised.value) + repr(raised.value.__cause__)


@pytest.mark.parametrize(
    "arn",
    [
        f"arn:aws:secretsmanager:{REGION}:123456789012:secret:none",
        f"arn:aws:ssm:{REGION}:123456789012:parameter/none",
    ],
)
def test_a_secret_that_is_not_there_is_named_by_its_arn(arn: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SERPLINE_SECRET_ARN_KEYED", arn)
    with pytest.raises(PipelineError) as raised:
        place().read_secret("KEYED")
    assert arn in str(raised.value)


def test_settings_of_a_function_are_read_from_its_environment():
    read = read_settings(
        {
            "SERPLINE_TERMS": '{"brave": {"rate": 1, "burst": 2, "concurrency": 3, "base_url": ""}}',
            "SERPLINE_MAPPINGS": '{"brave": ["a", "b"]}',
            "SERPLINE_LANE_MINUTES": "5",
            "SERPLINE_HORIZON": "3600",
            "SERPLINE_LANE": "1",
            "SERPLINE_NAME": "my-lake",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "XDG_CACHE_HOME": "/cache",
        }
    )
    assert read == Settings(
        terms={"brave": Pace(1.0, 2, 3)},
        mappings={"brave": ["a", "b"]},
        lane_minutes=5.0,
        horizon=3600.0,
        lane="1",
        name="my-lake",
        endpoint="http://127.0.0.1:1",
        cache="/cache",
    )
    assert read.database == "my_lake"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TERMS", ""),
        ("TERMS", "{"),
        ("TERMS", '{"x": {}}'),
        ("TERMS", '{"x": {"rate": 0}}'),
        ("TERMS", '{"x": {"rate": -1}}'),
        ("TERMS", '{"x": {"rate": 1, "burst": 0}}'),
        ("TERMS", '{"x": {"rate": 1, "concurrency": 0}}'),
        ("MAPPINGS", '{"x": "a"}'),
        ("HORIZON", "soon"),
    ],
)
def test_a_wrong_setting_is_misuse(name: str, value: str):
    """Before anything is opened, rather than at the first request."""
    with pytest.raises(Misuse, match="SERPLINE_<NAME>"):
        read_settings({f"SERPLINE_{name}": value})


def test_terms_are_what_terraform_writes():
    """The other way round: what a deployment says comes back as it was said."""
    terms = {"a": Pace(0.5), "b": Pace(2.0, 2, 2, "http://x")}
    assert read_settings({"SERPLINE_TERMS": msgspec.json.encode(terms).decode()}).terms == terms
