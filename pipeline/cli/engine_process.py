"""The practice engine as a process beside a command: started for it, gone with it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from pipeline.errors import Misuse, PipelineError
from stages.source import Source

SOURCES = ("practice_page", "practice_api", "practice_kinds")


@contextmanager
def practice_base_urls() -> Iterator[Mapping[str, str]]:
    """Start the engine on a free port; gives the base URL of each source that reads it.

    The engine ends when its standard input does, so that it outlives this process in no way.
    """
    command = [sys.executable, "-m", "pipeline", "practice", "--port", "0", "--attached"]
    # The command is this interpreter and our own words.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018  # both are pipes
        try:
            url = process.stdout.readline().strip().rpartition(" ")[2]
            if not url.startswith("http"):
                raise PipelineError("the practice engine did not start; `serpline practice` says why")
            yield dict.fromkeys(SOURCES, url)
        finally:
            process.stdin.close()
            process.wait(10)


def require_practice_engine(source: Source) -> None:
    """Raises ``Misuse`` where a source reads the practice engine and none is running."""
    if source.name not in SOURCES:
        return
    parts = urlsplit(source.spec.base_url)
    try:
        socket.create_connection(
            (str(parts.hostname), parts.port if parts.port is not None else 80), 2
        ).close()
    except OSError as error:
        raise Misuse(
            f"the practice engine is not running at {source.spec.base_url}: add --practice, start it with "
            "`serpline practice`, or name another --source"
        ) from error
