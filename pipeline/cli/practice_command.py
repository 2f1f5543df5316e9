"""``serpline practice``: the practice engine alone."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from typing import Any

from pipeline.errors import Misuse
from pipeline.settings import Settings

PORT = 8650


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command's words to the parser."""
    parser = commands.add_parser(
        "practice", parents=[common], help="a small search engine on this machine, to try everything against"
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"0 takes a free one (default: {PORT})")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="KIND=SHARE",
        help="misbehave for this share of keywords, as in throttle=0.01 (may be given several times)",
    )
    # Ends with its parent: standard input closes when that process is gone, however it went.
    parser.add_argument("--attached", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(command=practice)


def practice(arguments: argparse.Namespace, settings: Settings) -> int:
    """Serve until interrupted."""
    # The engine indexes and serves with libraries that no other command needs.
    from pipeline.practice.index import default_index_path  # noqa: PLC0415
    from pipeline.practice.server import serve  # noqa: PLC0415

    if arguments.attached:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    faults = [_fault(text) for text in arguments.fault]
    path = default_index_path(settings.cache_folder)
    if not path.exists():
        print("indexing the documentation of this Python, once", file=sys.stderr)
    serve("127.0.0.1", arguments.port, path, faults, ready=_announce)
    return 0


def _fault(text: str) -> Any:
    import msgspec  # noqa: PLC0415

    from pipeline.practice.faults import Fault  # noqa: PLC0415

    kind, _, share = text.partition("=")
    try:
        return msgspec.convert({"kind": kind, "share": float(share)}, Fault)
    except (ValueError, msgspec.ValidationError) as error:
        raise Misuse(f"--fault takes KIND=SHARE, as in throttle=0.01: {error}") from error


def _announce(url: str) -> None:
    print(f"practice engine at {url}", flush=True)


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
