"""Where a command works: the words that name a lake and its broker, and a run in it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pipeline.bootstrap import Place, open_place
from pipeline.catalog import Tables
from pipeline.errors import Misuse
from pipeline.runs import all_runs, find_run, finish_run, is_complete
from pipeline.settings import Settings, bucket_of
from pipeline.source_files import check_ready, pick_source, ready_sources
from stages.run import Run


def add_lake(parser: argparse.ArgumentParser) -> None:
    """The word that names the lake."""
    parser.add_argument(
        "--lake", metavar="DIR", help="the folder of tables and runs; s3://BUCKET for the one on AWS"
    )


def add_broker(parser: argparse.ArgumentParser) -> None:
    """The word that names the broker; a lake on AWS has its own."""
    parser.add_argument("--broker", metavar="URL", help="redis://… or amqp://…; not for a lake on AWS")


def add_run(parser: argparse.ArgumentParser) -> None:
    """The word that names a run."""
    parser.add_argument("run", metavar="RUN", help="a run's id, or its beginning")


def lake_of(arguments: argparse.Namespace, settings: Settings) -> str:
    """The lake that is named, or the settings' one."""
    lake: str = arguments.lake if arguments.lake is not None else settings.lake
    return lake


def on_aws(lake: str) -> bool:
    """Whether it is a bucket. Raises ``Misuse`` for an address of neither kind."""
    return bucket_of(lake) is not None


def folder_of(arguments: argparse.Namespace, settings: Settings, instead: str) -> Path:
    """The lake for a command of this machine alone; ``instead`` is what to do on AWS."""
    lake = lake_of(arguments, settings)
    if on_aws(lake):
        raise Misuse(f"{lake} is no folder: {instead}")
    return Path(lake)


def open_lake(
    arguments: argparse.Namespace, settings: Settings, base_urls: Mapping[str, str] | None = None
) -> Place:
    """The lake, which has runs already; nothing is sent from here."""
    lake = lake_of(arguments, settings)
    if not on_aws(lake) and not (Path(lake) / "runs").is_dir():
        raise Misuse(f"there are no runs in {lake}; `serpline run FILE --lake {lake}` makes one")
    return open_place(settings, lake=lake, base_urls=base_urls)


def open_queued(arguments: argparse.Namespace, settings: Settings) -> Place:
    """The lake with the queues of its workers or functions. Raises ``Misuse`` where no broker is named."""
    lake = lake_of(arguments, settings)
    if on_aws(lake):
        if arguments.broker is not None:
            raise Misuse(f"{lake} has the queues of its own on AWS: leave --broker out")
        return open_place(settings, lake=lake)
    broker = arguments.broker if arguments.broker is not None else settings.broker
    if not broker:
        raise Misuse(
            "name the broker with --broker URL (redis://… or amqp://…) or SERPLINE_BROKER, "
            "or the lake on AWS with --lake s3://BUCKET"
        )
    return open_place(settings, lake=lake, broker=broker)


def deployed_settings(place: Place, settings: Settings) -> Settings:
    """The settings with what the deployment of a bucket says of its sources, where they say nothing."""
    if settings.terms or not on_aws(place.lake):
        return settings
    from pipeline.bootstrap_aws import stored_terms  # noqa: PLC0415  # boto3 is slow to import

    return msgspec.structs.replace(settings, terms=stored_terms(place.storage))


def ready_place(place: Place, source: str, settings: Settings) -> Place:
    """The place with the sources that can be asked from here; ``Misuse`` where this one cannot."""
    check_ready(pick_source(place.sources, source).source, settings.contact)
    return msgspec.structs.replace(place, sources=ready_sources(place.sources, settings.contact))


def run_named(place: Place, wanted: str) -> Run:
    """The run of this id, or the one whose id begins so. Raises ``Misuse`` where that is not one."""
    exact = find_run(place.storage, wanted)
    if exact is not None:
        return exact
    found = [run for run in all_runs(place.storage) if run.run_id.startswith(wanted)]
    if len(found) != 1:
        raise Misuse(f"{len(found)} runs begin with {wanted!r}; `serpline status` lists them")
    return found[0]


def open_tables(place: Place) -> Tables:
    """The tables of the place. In a folder they are made where there are none; on AWS `apply` does it."""
    tables = Tables(place.open_catalog())
    if not on_aws(place.lake):
        tables.create()
    return tables


def mark_complete(place: Place, run: Run) -> None:
    """Mark a run whose ledger is complete. On AWS the ledger function does it, and tells who listens."""
    if not on_aws(place.lake) and not is_complete(place.storage, run.run_id):
        finish_run(place.storage, run.run_id, place.clock())


def check_unfinished(place: Place, run: Run) -> None:
    """Raises ``Misuse`` for a run whose every task has its row."""
    over = is_complete(place.storage, run.run_id)
    if not over and not on_aws(place.lake):
        over = open_tables(place).ledger(run.run_id, run.run_date).complete
    if over:
        raise Misuse(f"run {run.run_id} is complete; `serpline status {run.run_id}` shows it")
