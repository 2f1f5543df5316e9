"""``serpline worker``: a stage as a process of its own, on a broker or on the queues of AWS."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from pipeline.bootstrap import Place
from pipeline.cli.place import add_broker, add_lake, deployed_settings, on_aws, open_queued
from pipeline.errors import Misuse
from pipeline.logs import configure_logs, get_log
from pipeline.settings import Settings
from pipeline.source_files import check_ready, pick_source, ready_sources
from pipeline.workers.aggregate import aggregate_worker
from pipeline.workers.fetch import fetch_worker
from pipeline.workers.shard import shard_worker
from pipeline.workers.thread import StageThread, raise_first_error

STAGES = ("shard", "fetch", "aggregate")


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    worker = commands.add_parser(
        "worker",
        parents=[common],
        help="one stage as a long-lived process on a broker, or on AWS",
        description="One stage as a long-lived process. Start as many of each as you like on one lake and "
        "one broker, or on a lake on AWS beside its functions; all share each source's rate.",
    )
    worker.add_argument("stage", choices=STAGES)
    worker.add_argument("--source", help="fetch only: the one source to work on (default: every source)")
    add_lake(worker)
    add_broker(worker)
    worker.set_defaults(command=work)


def work(arguments: argparse.Namespace, settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; what is on its way then is stored first."""
    place = open_queued(arguments, settings)
    if on_aws(place.lake):
        place, settings = _deployed(arguments, place, settings)
        # A process has no end of its own as a function has: its batches end well before SQS takes them back.
        place = msgspec.structs.replace(place, longest=settings.visibility / 2)
    configure_logs(None, verbose=arguments.verbose)
    log = get_log()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    targets = _targets(arguments, settings, place, log, stop.is_set)
    threads = [StageThread(arguments.stage, target) for target in targets]
    for thread in threads:
        thread.start()
    log.info("worker started", stage=arguments.stage, lake=str(place.lake))
    while any(thread.is_alive() for thread in threads):
        stop.wait(0.2)
        if stop.is_set() or not all(thread.is_alive() for thread in threads):
            # One thread that died takes the process with it: a supervisor sees that, not a silent half.
            stop.set()
            for thread in threads:
                thread.join()
    raise_first_error(threads)
    return 0


def _deployed(arguments: argparse.Namespace, place: Place, settings: Settings) -> tuple[Place, Settings]:
    """The place at the pace of its deployment, which a source file need not know.

    Raises ``Misuse`` for a fetch that does not know it: faster than was agreed is asked by nobody.
    """
    told = deployed_settings(place, settings)
    if not told.terms:
        if arguments.stage == "fetch":
            raise Misuse(
                f"nothing says how fast the deployment of {place.lake} asks: apply it again, which leaves "
                "that in the bucket, or set SERPLINE_TERMS as its functions have it"
            )
        return place, settings
    return (place if told is settings else open_queued(arguments, told)), told


def _targets(
    arguments: argparse.Namespace, settings: Settings, place: Place, log: Any, stopped: Callable[[], bool]
) -> list[Callable[[], None]]:
    if arguments.source is not None and arguments.stage != "fetch":
        raise Misuse(f"--source has no meaning for {arguments.stage}")
    if arguments.stage == "shard":
        return [lambda: shard_worker(place, log, stopped)]
    if arguments.stage == "aggregate":
        return [lambda: aggregate_worker(place, log, stopped)]
    if arguments.source is not None:
        chosen = [pick_source(place.sources, arguments.source)]
        check_ready(chosen[0].source, settings.contact)
    else:
        chosen = list(ready_sources(place.sources, settings.contact).values())
    return [lambda loaded=loaded: fetch_worker(place, loaded, log, stopped) for loaded in chosen]  # type: ignore[misc]
