"""Settings: the one place that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from pipeline.errors import Misuse

PREFIX = "SERPLINE_"

SECRET_PREFIX = "SERPLINE_SECRET_"  # noqa: S105  # the beginning of names, not a secret
"""Source files reach the variables under this prefix alone: a file cannot send others to its own host."""


SECRET_ARN_PREFIX = "SERPLINE_SECRET_ARN_"  # noqa: S105  # the beginning of names, not a secret
"""On AWS these variables say where a secret is kept: the ARN of a secret or of a parameter."""

BUCKET_SCHEME = "s3://"


class Pace(msgspec.Struct, frozen=True):
    """What a deployment says of one source: its pace for the whole fleet, and where its engine is.

    ``rate`` in requests a second, ``quota`` in requests a day; no ``quota`` and an empty ``base_url`` are
    the source file's own.
    """

    rate: Annotated[float, msgspec.Meta(gt=0)]
    burst: Annotated[int, msgspec.Meta(ge=1)] = 1
    concurrency: Annotated[int, msgspec.Meta(ge=1)] = 1
    base_url: str = ""
    quota: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment says, each as ``SERPLINE_<NAME>``; those from ``terms`` on matter on AWS only.

    ``lake`` is a folder of this machine, or ``s3://bucket`` on AWS; ``sources`` a folder of the user's own
    source files; ``contact`` the operator's address in the User-Agent; ``name`` the prefix of queues;
    ``visibility`` the seconds after which a Redis broker gives a message of a dead worker to another.
    ``terms`` (JSON) are the deployed sources; ``lane`` is which of a source's functions this is;
    ``horizon`` how many seconds of a source's rate its queue may hold, the rest waits in the backlog;
    ``mappings`` (JSON) the event source mappings of each source, lane by lane; ``lane_minutes`` how long
    one of them works, ``lane_rest_minutes`` how long it takes no message then before it works again;
    ``bus`` takes the run-complete event; ``compaction`` is who compacts the tables, the
    function itself or Athena; ``endpoint`` is ``AWS_ENDPOINT_URL``, and ``region`` is ``AWS_REGION``, which
    boto3 does not read itself; empty leaves it to boto3.
    """

    lake: str = "lake"
    sources: str = ""
    source: str = "practice_page"
    device: str = "desktop"
    contact: str = ""
    name: str = "serpline"
    broker: str = ""
    visibility: float = 900.0
    cache: str = ""
    terms: dict[str, Pace] = {}
    lane: str = ""
    horizon: float = 21_600.0
    mappings: dict[str, list[str]] = {}
    lane_minutes: float = 15.0
    lane_rest_minutes: float = 30.0
    bus: str = "default"
    compaction: Literal["function", "athena"] = "function"
    endpoint: str = ""
    region: str = ""

    @property
    def cache_folder(self) -> Path:
        """Where things are kept that can be made again."""
        return Path(self.cache)

    @property
    def database(self) -> str:
        """The Glue database of this installation: its name, as SQL can write it."""
        return self.name.replace("-", "_")


_JSON = ("terms", "mappings")


def bucket_of(lake: str) -> str | None:
    """The bucket of a lake on AWS; None for a folder. Raises ``Misuse`` for an address of neither."""
    if not lake.startswith(BUCKET_SCHEME):
        return None
    bucket = lake.removeprefix(BUCKET_SCHEME).rstrip("/")
    if not bucket or "/" in bucket:
        raise Misuse(f"{lake} is no lake: write s3://BUCKET, with nothing behind the bucket's name")
    return bucket


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Raises ``Misuse`` naming the variable that is wrong."""
    given = environment if environment is not None else os.environ
    values: dict[str, Any] = {
        name: given[PREFIX + name.upper()]
        for name in Settings.__struct_fields__
        if PREFIX + name.upper() in given
    }
    values.setdefault("endpoint", given.get("AWS_ENDPOINT_URL", ""))
    values.setdefault("region", given.get("AWS_REGION", ""))
    if "cache" not in values:
        home = given.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        values["cache"] = home
    try:
        for name in _JSON:
            if name in values:
                values[name] = msgspec.json.decode(values[name])
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.DecodeError as error:
        raise Misuse(
            f"a setting is wrong: {error}; each is an environment variable {PREFIX}<NAME>"
        ) from error


def secret_arn(name: str, environment: Mapping[str, str] | None = None) -> str:
    """Where AWS keeps the secret that source files call by this name; empty where nothing is said."""
    return (environment if environment is not None else os.environ).get(SECRET_ARN_PREFIX + name, "")


def read_secret(name: str, environment: Mapping[str, str] | None = None) -> str:
    """The secret that source files call by this name.

    Raises ``Misuse`` naming the variable, never its value, where it is missing or fits in no header.
    """
    variable = SECRET_PREFIX + name
    secret = (environment if environment is not None else os.environ).get(variable, "").strip()
    if not secret:
        raise Misuse(f"set {variable} to the secret that the source file calls {name}")
    return checked_secret(secret, variable)


def checked_secret(secret: str, where: str) -> str:
    """The secret, if a header can carry it; ``Misuse`` names ``where`` it stands, never its value."""
    if not (secret and secret.isascii() and secret.isprintable()):
        raise Misuse(f"{where} holds characters that no header can carry, or none")
    return secret
