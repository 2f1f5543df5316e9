"""Bootstrap on AWS: the one place that builds its clients, and the place that they make."""

from __future__ import annotations

import math
import time
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import boto3
import msgspec
from botocore.config import Config

from pipeline import keys
from pipeline.aws_errors import translated
from pipeline.backlog import BacklogOutlet
from pipeline.bootstrap import MAX_RECEIVES, Place
from pipeline.errors import Misuse, Unavailable
from pipeline.metrics import MemoryMetrics, Metrics
from pipeline.pacers.dynamodb import DynamoPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.queues.names import Queues
from pipeline.queues.sqs import SqsBroker
from pipeline.settings import Pace, Settings, bucket_of, checked_secret, read_secret, secret_arn
from pipeline.source_files import LoadedSource, SourceFiles, parse_files, shipped_files, user_agent
from pipeline.steps.drop import DropTerms
from pipeline.storage.protocol import Storage
from pipeline.storage.s3 import S3Storage

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

    from pipeline.measure.schedules import SchedulerClient
    from pipeline.measure.throttles import MetricsClient

LONGEST_SHARD = 800.0
"""Seconds that a function may spend on one part of a file, of the 900 that it has."""

_CONFIG = Config(
    connect_timeout=5,
    # A long poll of SQS is 20 seconds; everything else answers sooner.
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 6},
    tcp_keepalive=True,
)


class AwsClients:
    """One client for each service, made when it is first used, with the ordinary credential chain."""

    def __init__(self, session: boto3.session.Session) -> None:
        self._session = session

    @property
    def region(self) -> str:
        """The region of every client. Raises ``Misuse`` where none is said."""
        region = self._session.region_name
        if not region:
            raise Misuse("say which region: set AWS_REGION, or region in the profile")
        return region

    def _client(self, service: str) -> Any:
        with translated(Unavailable, service):
            return self._session.client(service, config=_CONFIG)  # type: ignore[call-overload]

    @cached_property
    def s3(self) -> S3Client:
        """Objects."""
        return self._client("s3")  # type: ignore[no-any-return]

    @cached_property
    def sqs(self) -> SQSClient:
        """Queues."""
        return self._client("sqs")  # type: ignore[no-any-return]

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """Paces."""
        return self._client("dynamodb")  # type: ignore[no-any-return]

    @cached_property
    def glue(self) -> GlueClient:
        """The catalog."""
        return self._client("glue")  # type: ignore[no-any-return]

    @cached_property
    def athena(self) -> AthenaClient:
        """SQL."""
        return self._client("athena")  # type: ignore[no-any-return]

    @cached_property
    def lambda_(self) -> LambdaClient:
        """Mappings of queues to functions."""
        return self._client("lambda")  # type: ignore[no-any-return]

    @cached_property
    def events(self) -> EventBridgeClient:
        """Events that others may listen to."""
        return self._client("events")  # type: ignore[no-any-return]

    @cached_property
    def secretsmanager(self) -> SecretsManagerClient:
        """Secrets."""
        return self._client("secretsmanager")  # type: ignore[no-any-return]

    @cached_property
    def ssm(self) -> SSMClient:
        """Secrets that are parameters."""
        return self._client("ssm")  # type: ignore[no-any-return]

    @cached_property
    def cloudwatch(self) -> MetricsClient:
        """What services count of themselves."""
        return self._client("cloudwatch")  # type: ignore[no-any-return]

    @cached_property
    def scheduler(self) -> SchedulerClient:
        """One-time schedules."""
        return self._client("scheduler")  # type: ignore[no-any-return]


def aws_clients(settings: Settings) -> AwsClients:
    """Clients of the account that the environment names; nothing is asked of it yet."""
    with translated(Unavailable, "AWS"):
        return AwsClients(boto3.session.Session(region_name=settings.region if settings.region else None))


def open_aws_place(
    settings: Settings,
    *,
    lake: str,
    clients: AwsClients | None = None,
    metrics: Metrics | None = None,
    with_sources: bool = True,
    only: str = "",
) -> Place:
    """The deployment whose bucket is ``lake``. Raises ``Misuse`` for a wrong source file or address.

    Its sources are those that the deployment names (``SERPLINE_TERMS``), all of them where it names none;
    none are read for who has no use for them, ``only`` one where its name is said.
    """
    aws = clients if clients is not None else aws_clients(settings)
    bucket = bucket_of(lake)
    if bucket is None:
        raise Misuse(f"{lake} is no lake on AWS: write s3://BUCKET")
    storage = S3Storage(aws.s3, bucket)
    sources = _sources(settings, storage, only) if with_sources else {}
    paces = {name: loaded.source.spec.politeness for name, loaded in sources.items()}
    rates = {name: pace.rate for name, pace in paces.items()}
    quotas = {name: pace.quota for name, pace in paces.items()}

    def open_catalog() -> Any:
        from pipeline.glue import open_glue_catalog  # noqa: PLC0415  # pyiceberg, which fetch never needs

        return open_glue_catalog(
            aws.glue, settings.database, bucket, region=aws.region, endpoint=settings.endpoint
        )

    return Place(
        lake=f"s3://{bucket}",
        storage=storage,
        pacer=Pacer(_LazyPaceStore(aws, f"{settings.name}-pace"), time.time),
        sources=sources,
        open_queues=lambda: Queues(SqsBroker(aws.sqs, max_receives=MAX_RECEIVES), settings.name),
        open_catalog=open_catalog,
        open_outlet=lambda queues: BacklogOutlet(storage, queues, rates, settings.horizon, quotas),
        drops=DropTerms(bucket, settings.source, settings.device, LONGEST_SHARD),
        metrics=metrics if metrics is not None else MemoryMetrics(),
        user_agent=user_agent(version("serpline"), settings.contact),
        longest=math.inf,
        patience=60.0,
        lane=settings.lane,
        backlog=True,
        read_secret=lambda name: _secret(aws, name),
    )


def deployed_source(settings: Settings, storage: S3Storage, name: str) -> LoadedSource:
    """One source at the pace that the deployment says. Raises ``Misuse`` for a wrong or missing file."""
    return _sources(settings, storage, name)[name]


def stored_terms(storage: Storage) -> dict[str, Pace]:
    """What the deployment of a bucket says of its sources; nothing for one that an earlier version applied.

    Raises ``Misuse`` where that cannot be read.
    """
    raw = storage.find(keys.TERMS)
    try:
        return msgspec.json.decode(raw, type=dict[str, Pace]) if raw is not None else {}
    except msgspec.DecodeError as error:
        raise Misuse(f"{keys.TERMS} in the bucket is damaged: apply the deployment again") from error


def _sources(settings: Settings, storage: S3Storage, only: str) -> dict[str, LoadedSource]:
    """The deployed sources at the pace that the deployment says, from the bucket's own files first."""
    texts: SourceFiles = shipped_files()
    shipped = next(iter(texts.values()))[1]
    named = [only] if only else list(settings.terms)
    for name in named:
        own = storage.find(keys.own_source(name))
        if own is not None:
            texts.pop(f"{name}.toml", None)
            texts[keys.own_source(name)] = (own.decode("utf-8", "replace"), shipped)
    deployed = {path: file for path, file in texts.items() if not named or _stem(path) in named}
    missing = sorted(set(named) - set(map(_stem, deployed)))
    if missing:
        raise Misuse(
            f"there is no source file for {', '.join(missing)}: "
            f"put it at {keys.own_source(missing[0])} in the bucket"
        )
    base_urls = {name: pace.base_url for name, pace in settings.terms.items() if pace.base_url}
    loaded = parse_files(deployed, base_urls)
    return {name: at_pace(one, settings) for name, one in loaded.items()}


def _stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".toml")


def at_pace(loaded: LoadedSource, settings: Settings) -> LoadedSource:
    """A source at the pace that the deployment says, or at its file's where that says none."""
    said = settings.terms.get(loaded.source.name)
    if said is None:
        return loaded
    spec = loaded.source.spec
    quota = said.quota if said.quota is not None else spec.politeness.quota
    terms = msgspec.structs.replace(
        spec.politeness, rate=said.rate, burst=said.burst, concurrency=said.concurrency, quota=quota
    )
    source = msgspec.structs.replace(loaded.source, spec=msgspec.structs.replace(spec, politeness=terms))
    return msgspec.structs.replace(loaded, source=source)


def _secret(aws: AwsClients, name: str) -> str:
    """A secret by its name in source files, from where the deployment says that it is kept."""
    arn = secret_arn(name)
    if not arn:
        return read_secret(name)
    with translated(Unavailable, arn):
        if arn.split(":")[2:3] == ["ssm"]:
            said = aws.ssm.get_parameter(Name=arn, WithDecryption=True)["Parameter"].get("Value", "")
        else:
            said = aws.secretsmanager.get_secret_value(SecretId=arn).get("SecretString", "")
    return checked_secret(said.strip(), arn)


class _LazyPaceStore:
    """Paces in DynamoDB; its client is made when a pace is first asked for: shard never does."""

    def __init__(self, aws: AwsClients, table: str) -> None:
        self._aws = aws
        self._table = table

    @cached_property
    def _store(self) -> DynamoPaceStore:
        return DynamoPaceStore(self._aws.dynamodb, self._table)

    def read(self, source: str) -> Any:
        """The state now."""
        return self._store.read(source)

    def change(self, source: str, how: Any) -> Any:
        """Replace the state by what ``how`` makes of it."""
        return self._store.change(source, how)
