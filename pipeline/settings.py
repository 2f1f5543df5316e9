"""Settings: the one place that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pipeline.errors import Misuse

PREFIX = "SERPLINE_"

SECRET_PREFIX = "SERPLINE_SECRET_"  # noqa: S105  # the beginning of names, not a secret
"""Source files reach the variables under this prefix alone: a file cannot send others to its own host."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment says, each as ``SERPLINE_<NAME>``.

    ``lake`` is the folder of one machine; ``sources`` a folder of the user's own source files;
    ``contact`` the operator's address in the User-Agent; ``name`` the prefix of queues; ``visibility``
    the seconds after which a Redis broker gives a message of a dead worker to another.
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

    @property
    def cache_folder(self) -> Path:
        """Where things are kept that can be made again."""
        return Path(self.cache)


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Raises ``Misuse`` naming the variable that is wrong."""
    given = environment if environment is not None else os.environ
    values = {
        name: given[PREFIX + name.upper()]
        for name in Settings.__struct_fields__
        if PREFIX + name.upper() in given
    }
    if "cache" not in values:
        home = given.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        values["cache"] = home
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise Misuse(
            f"a setting is wrong: {error}; each is an environment variable {PREFIX}<NAME>"
        ) from error


def read_secret(name: str, environment: Mapping[str, str] | None = None) -> str:
    """The secret that source files call by this name.

    Raises ``Misuse`` naming the variable, never its value, where it is missing or fits in no header.
    """
    variable = SECRET_PREFIX + name
    secret = (environment if environment is not None else os.environ).get(variable, "").strip()
    if not secret:
        raise Misuse(f"set {variable} to the secret that the source file calls {name}")
    if not (secret.isascii() and secret.isprintable()):
        raise Misuse(f"{variable} holds characters that no header can carry")
    return secret
