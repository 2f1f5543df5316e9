"""Processes under measurement: pinned to a core, and charged with the CPU of their whole tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bench.figures import Failed

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
WORK = BUILD / "bench"

_POLL = 0.02
_LONGEST = 3_600.0


class Measured(msgspec.Struct, frozen=True):
    """What a process cost: CPU (user and system, its children's with it), seconds, and what it printed."""

    cpu: float
    seconds: float
    output: str


def pinned(command: Sequence[str], core: int) -> list[str]:
    """The command on one core only (the n-th that this process may use), where there is ``taskset``."""
    taskset = shutil.which("taskset")
    if taskset is None:
        return list(command)
    cores = sorted(os.sched_getaffinity(0))
    return [taskset, "-c", str(cores[core % len(cores)]), *command]


def measure(command: Sequence[str], *, core: int = 0, env: Mapping[str, str] | None = None) -> Measured:
    """Run a command on one core to its end. Raises ``Failed`` with its last words where it fails.

    The CPU is what the kernel tells the parent (``wait4``), so threads, children and start-up count.
    """
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("SERPLINE_")}
    surroundings["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryFile() as said:
        started = time.monotonic()
        # The commands are this project's own programs.
        process = subprocess.Popen(
            pinned(command, core),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=surroundings | dict(env or {}),
            cwd=ROOT,
        )
        try:
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    break
                if time.monotonic() - started > _LONGEST:
                    raise Failed(f"{command[:4]} did not end within {_LONGEST:.0f} s")
                time.sleep(_POLL)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        seconds = time.monotonic() - started
        said.seek(0)
        output = said.read().decode("utf-8", "replace")
    if process.returncode:
        raise Failed(f"{' '.join(command[:6])} … ended with {process.returncode}:\n{output[-2_000:]}")
    return Measured(usage.ru_utime + usage.ru_stime, seconds, output)


def child(module: str, *arguments: object, env: Mapping[str, str] | None = None) -> Measured:
    """Run one of ``bench.children`` on the first core in this interpreter's environment."""
    return measure([sys.executable, "-m", f"bench.children.{module}", *map(str, arguments)], env=env)


def told(measured: Measured) -> dict[str, float]:
    """The numbers that a child printed last, as one line of JSON."""
    return msgspec.json.decode(measured.output.strip().rpartition("\n")[2], type=dict[str, float])


def peak_megabytes() -> float:
    """The most memory that this process has held.

    Linux's ``ru_maxrss`` outlives ``exec`` and so starts at the parent's; ``VmHWM`` is this program's own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource  # noqa: PLC0415  # not on every system

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
