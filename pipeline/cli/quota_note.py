"""What a user is told where a file is larger than its source's quota of a day."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import Misuse
from pipeline.runs import Given, new_options
from pipeline.settings import Settings
from pipeline.source_files import LoadedSource
from stages.records import Malformed


def quota_words(tasks: int, quota: int) -> str:
    """How many days of a quota so many tasks take."""
    days = math.ceil(tasks / quota)
    return f"{days:,} day{'' if days == 1 else 's'} of its quota of {quota:,} requests a day"


def warn_of_quota(path: Path, given: Given, settings: Settings, sources: Mapping[str, LoadedSource]) -> None:
    """Say on standard error, before anything is asked, what cannot be done within a day's quota."""
    for note in quota_notes(path, given, settings, sources):
        print(note, file=sys.stderr)


def quota_notes(
    path: Path, given: Given, settings: Settings, sources: Mapping[str, LoadedSource]
) -> Iterator[str]:
    """A sentence for each source of which the file wants more than a day's quota.

    The file is read for it, but only where one of the sources that its rows may mean has a quota. Raises
    ``Misuse`` where it cannot be read.
    """
    options, objection = new_options(given, sources, settings.source, settings.device)
    if objection:
        return
    quotas = {name: loaded.source.spec.politeness.quota for name, loaded in sources.items()}
    rows_name_sources = ".txt" not in path.suffixes
    if not quotas[options.source] and not (rows_name_sources and any(quotas.values())):
        return
    from pipeline.planning import read_file  # noqa: PLC0415  # fetch's libraries

    try:
        tasks = read_file(path, options, sources, sources[options.source].source.spec.politeness.rate).tasks
    except Malformed as error:
        raise Misuse(f"{path.name}: {error}") from error
    except OSError as error:
        raise Misuse(f"{path} cannot be read: {error.strerror}") from error
    for source, wanted in tasks.items():
        if 0 < quotas[source] < wanted:
            yield (
                f"{source}: {wanted:,} tasks take {quota_words(wanted, quotas[source])}; "
                "they wait for it, and none is lost"
            )
