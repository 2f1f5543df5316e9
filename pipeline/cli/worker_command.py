"""``serpline worker`` and ``serpline submit``: stages as processes of their own, on a broker."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pipeline.bootstrap import Place, open_place
from pipeline.cli.run_command import add_options, drop_file, ready_place
from pipeline.errors import Misuse
from pipeline.logs import configure_logs, get_log
from pipeline.settings import Settings
from pipeline.source_files import check_ready, pick_source, ready_sources
from pipeline.stage_workers import (
    StageThread,
    aggregate_worker,
    fetch_worker,
    raise_first_error,
    shard_worker,
)
from stages.run import ShardTask

STAGES = ("shard", "fetch", "aggregate")


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands' words to the parser."""
    worker = commands.add_parser(
        "worker",
        parents=[common],
        help="one stage as a long-lived process on a broker",
        description="One stage as a long-lived process. Start as many of each as you like on one lake and "
        "one broker; they share each source's rate through the lake.",
    )
    worker.add_argument("stage", choices=STAGES)
    worker.add_argument("--source", help="fetch only: the one source to work on (default: every source)")
    _add_place(worker)
    worker.set_defaults(command=work)
    submit = commands.add_parser(
        "submit", parents=[common], help="hand a keyword file to the workers of a broker"
    )
    submit.add_argument("file", type=Path)
    add_options(submit)
    submit.add_argument("--broker", metavar="URL", help="redis://… or amqp://…")
    submit.set_defaults(command=submit_file, run_id=None)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--broker", metavar="URL", help="redis://… or amqp://…")
    parser.add_argument("--lake", type=Path, metavar="DIR", help="the folder that all workers share")


def work(arguments: argparse.Namespace, settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; what is on its way then is stored first."""
    place = _place(arguments, settings)
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


def submit_file(arguments: argparse.Namespace, settings: Settings) -> int:
    """Freeze a run and send its parts; prints the run's id."""
    place = _place(arguments, settings)
    place = ready_place(place, arguments, settings)
    run = drop_file(arguments, settings, place, "workers")
    queues = place.open_queues()
    try:
        queues.keywords.send([msgspec.json.encode(ShardTask(run.run_id, part)) for part in range(run.parts)])
    finally:
        queues.close()
    print(run.run_id)
    print(f"`serpline status {run.run_id} --watch` shows how it goes on", file=sys.stderr)
    return 0


def _place(arguments: argparse.Namespace, settings: Settings) -> Place:
    broker = arguments.broker if arguments.broker is not None else settings.broker
    if not broker:
        raise Misuse("name the broker with --broker URL (redis://… or amqp://…) or SERPLINE_BROKER")
    lake = arguments.lake if arguments.lake is not None else Path(settings.lake)
    return open_place(settings, lake=lake, broker=broker)


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
