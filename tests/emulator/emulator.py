"""The AWS emulator as a process: started on a free port for whoever asks, gone with everything it started.

Functions run in ``build/runtime``, an interpreter of their own, through a small program that gives each the
name of its function as its access key, so that the recorder knows who calls, and sends its calls there.
``.ci/tools`` makes both environments.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from localstack_client.session import Session

from tests.emulator.tools import function_python, tool
from tests.servers import Server, free_port

REGION = "us-east-1"
ACCOUNT = "000000000000"
CALLER = "tests"
"""The access key of tests and terraform; whatever is not twelve digits belongs to the emulator's account."""


class Emulator(Server):
    """A running emulator; functions send their calls to ``functions_endpoint``, or straight to it."""

    def __init__(self, folder: Path, *, port: int = 0, functions_endpoint: str = "") -> None:
        port = port or free_port()
        url = f"http://127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        interpreter = _interpreter(folder / "function-python", functions_endpoint or url)
        env = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "LANG": "C.UTF-8",
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LAMBDA_EXECUTOR": "local",
            "LAMBDA_ACCOUNT_CONCURRENCY": "100",
            "STATE_DIR": str(folder / "state"),
            "S3_DATA_DIR": str(folder / "s3"),
            "LOG_LEVEL": "WARNING",
            "SERPLINE_PYTHON": str(interpreter),  # functions inherit it
        }
        super().__init__(url, folder, [[str(tool("ministack"))]], env, lambda: _answers(url))

    def client(self, service: str) -> Any:
        """A client of one service, straight to the emulator."""
        return client(service, self.url)

    def reset(self) -> None:
        """Empty it: every resource of every service is gone, and no function runs on."""
        request = urllib.request.Request(f"{self.url}/_ministack/reset", method="POST")  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - ours
            answer.read()

    def stop(self) -> None:
        """End it with all its functions. A second call does nothing."""
        groups = [process.pid for process in self._processes]
        if groups and self._processes[0].poll() is None:
            with suppress(OSError):
                self.reset()  # a function at work would hear no signal
        super().stop()
        for group in groups:
            end_group(group)


def client(service: str, url: str, **options: Any) -> Any:
    """A client of one service of whatever answers at this address as AWS does."""
    session = Session(
        aws_access_key_id=CALLER,
        aws_secret_access_key="test",  # noqa: S106 - the emulator's
        region_name=REGION,
        localstack_host=url.partition("://")[2],
    )
    return session.client(service, **options)


def end_group(group: int, within: float = 10.0) -> None:
    """End what is left of a process group; returns when nothing is."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return
        if not _lives(group):
            return
        time.sleep(0.02)
    raise RuntimeError(f"process group {group} does not end")


def _lives(group: int) -> bool:
    """Whether a group has more than dead processes that nobody has asked about yet."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pgid=,stat="],  # noqa: S607 - the system's
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    pairs = zip(listed[::2], listed[1::2], strict=True)
    return any(pgid == str(group) and not state.startswith("Z") for pgid, state in pairs)


def _interpreter(path: Path, endpoint: str) -> Path:
    python = shlex.quote(str(function_python()))
    path.write_text(
        "#!/bin/sh\n"
        f"export AWS_ACCESS_KEY_ID=$AWS_LAMBDA_FUNCTION_NAME AWS_ENDPOINT_URL={shlex.quote(endpoint)}\n"
        "export AWS_EC2_METADATA_DISABLED=true\n"  # as in Lambda, there is none to ask
        f'exec {python} "$@"\n'
    )
    path.chmod(0o755)
    return path


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_ministack/health", timeout=1) as answer:  # noqa: S310 - ours
            return bool(answer.status == 200)
    except OSError:
        return False
