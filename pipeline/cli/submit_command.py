"""``serpline submit``: a keyword file handed to workers, or to the deployment on AWS."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from pipeline import keys
from pipeline.bootstrap import Place
from pipeline.cli.drop import content_hash, drop_file
from pipeline.cli.place import add_broker, deployed_settings, open_queued, ready_place
from pipeline.cli.quota_note import warn_of_quota
from pipeline.cli.run_command import add_options
from pipeline.errors import Misuse, PipelineError
from pipeline.runs import Given, spread_of
from pipeline.settings import Settings, bucket_of
from stages.run import ShardTask, canonical_locale, run_id_of

_SOURCE = re.compile(r"[a-z][a-z0-9_]*")


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    submit = commands.add_parser(
        "submit",
        parents=[common],
        help="hand a keyword file to the workers of a broker, or to AWS",
        description="Hands a keyword file to the workers of a broker, or drops it in the bucket of a lake "
        "on AWS; prints the run's id.",
    )
    submit.add_argument("file", type=Path)
    add_options(submit)
    add_broker(submit)
    submit.set_defaults(command=submit_file)


def submit_file(arguments: argparse.Namespace, settings: Settings) -> int:
    """Hand the file over; prints the run's id."""
    place = open_queued(arguments, settings)
    pages = str(arguments.pages) if arguments.pages is not None else None
    given = Given(arguments.source, arguments.locale, arguments.device, pages, arguments.spread)
    return hand_over(place, settings, arguments.file, given)


def hand_over(place: Place, settings: Settings, path: Path, given: Given) -> int:
    """Make a run of the file, by workers or functions; prints its id."""
    bucket = bucket_of(place.lake)
    if bucket is not None:
        # Of other sources that its rows may name, only the deployment knows whether they are there.
        from pipeline.bootstrap_aws import at_pace  # noqa: PLC0415  # boto3 is slow to import

        own = given.source if given.source is not None else settings.source
        deployed = deployed_settings(place, settings)
        warn_of_quota(
            path, given, settings, {n: at_pace(s, deployed) for n, s in place.sources.items() if n == own}
        )
    run_id = (
        _freeze_and_send(place, settings, path, given)
        if bucket is None
        else _drop_on_aws(place, bucket, path, given)
    )
    print(run_id)
    print(f"`serpline status {run_id} --watch` shows how it goes on", file=sys.stderr)
    return 0


def _freeze_and_send(place: Place, settings: Settings, path: Path, given: Given) -> str:
    place = ready_place(place, given.source if given.source is not None else settings.source, settings)
    warn_of_quota(path, given, settings, place.sources)
    run = drop_file(path, given, settings, place, "workers")
    queues = place.open_queues()
    try:
        queues.keywords.send([msgspec.json.encode(ShardTask(run.run_id, part)) for part in range(run.parts)])
    finally:
        queues.close()
    return run.run_id


def _drop_on_aws(place: Place, bucket: str, path: Path, given: Given) -> str:
    """Put the file into the bucket, whose event does the rest; gives the id that the run will have."""
    from pipeline.storage.s3 import S3Storage  # noqa: PLC0415  # boto3 is slow to import

    # Which sources there are, only the deployment knows: a run that cannot be says so in its status.
    if given.source is not None and not _SOURCE.fullmatch(given.source):
        raise Misuse(f"{given.source!r} is no source's name")
    if given.locale is not None and canonical_locale(given.locale) is None:
        raise Misuse(f"{given.locale!r} is no locale; write language and country, as in en-US")
    _, objection = spread_of(given)
    if objection:
        raise Misuse(objection)
    said = {"source": given.source, "locale": given.locale, "device": given.device, "pages": given.pages}
    said["spread"] = given.spread
    folders = [f"{name}={value}" for name, value in said.items() if value is not None]
    assert isinstance(place.storage, S3Storage)  # noqa: S101  # a bucket's storage
    key = keys.dropped("/".join([*folders, content_hash(path)]), path.name)
    with path.open("rb") as file:
        version = place.storage.drop(key, file)
    if not version:
        raise PipelineError(
            f"{path.name} is dropped, but bucket {bucket} keeps no versions, so that only the deployment "
            "knows the run's id: `serpline status` lists it"
        )
    return run_id_of(bucket, key, version)
