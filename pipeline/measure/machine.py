"""The machine below, read from a fixed list of files and from the standard library; nothing is run."""

from __future__ import annotations

import os
import platform
import pwd
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from stages.machine import (
    MOST_LISTED,
    boot_of,
    cpu_of,
    limit_of,
    memory_of,
    mounts_of,
    process_of,
    release_of,
    uptime_of,
)

LARGEST = 1 << 18
"""Bytes of one file that are read."""

_LIMITS = ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_STACK")


class Machine(msgspec.Struct, frozen=True):
    """What was read; ``more`` is everything that has no column of its own."""

    architecture: str
    boot_id: str
    os_release: str
    kernel: str
    cpu_model: str
    cpu_count: int
    more: dict[str, Any]


def read_machine(root: Path = Path("/")) -> Machine:
    """Read it all. A file that is missing or locked leaves its reading empty."""
    model, processors = cpu_of(_text(root / "proc/cpuinfo"))
    system = platform.uname()
    return Machine(
        architecture=system.machine,
        boot_id=boot_of(_text(root / "proc/sys/kernel/random/boot_id")),
        os_release=release_of(_text(root / "etc/os-release")),
        kernel=f"{system.release} {system.version}",
        cpu_model=model,
        cpu_count=processors,
        more={
            "uptime_s": uptime_of(_text(root / "proc/uptime")),
            "memory_kb": memory_of(_text(root / "proc/meminfo")),
            "memory_limit_bytes": _memory_limit(root),
            "disks": [mount | _space(mount["path"]) for mount in mounts_of(_text(root / "proc/mounts"))],
            "processes": list(_processes(root)),
            "limits": {name: resource.getrlimit(getattr(resource, name))[0] for name in _LIMITS},
            "user": _user(),
            "python": {
                "version": platform.python_version(),
                "executable": sys.executable,
                "path": sys.path,
                "folder": str(Path.cwd()),
            },
        },
    )


def since_start(root: Path = Path("/")) -> float | None:
    """Seconds that this process has lived, to a hundredth; None where the kernel does not say."""
    uptime = uptime_of(_text(root / "proc/uptime"))
    process = process_of(_text(root / "proc/self/stat"))
    if uptime is None or process is None:
        return None
    return max(0.0, uptime - float(process["began"]) / os.sysconf("SC_CLK_TCK"))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST).decode(errors="replace")
    except OSError:
        return ""


def _memory_limit(root: Path) -> int | None:
    """The limit of the group of processes, in the second version of such groups or the first."""
    newer = limit_of(_text(root / "sys/fs/cgroup/memory.max"))
    if newer is not None:
        return newer
    return limit_of(_text(root / "sys/fs/cgroup/memory/memory.limit_in_bytes"))


def _space(path: str) -> dict[str, int]:
    try:
        space = shutil.disk_usage(path)
    except OSError:
        return {}
    return {"bytes": space.total, "free_bytes": space.free}


def _processes(root: Path) -> Iterator[dict[str, Any]]:
    """Each process's id, name and parent. Command lines stay unread: they may hold what is nobody's."""
    numbers = sorted(int(path.name) for path in (root / "proc").glob("[0-9]*") if path.name.isdecimal())
    for number in numbers[:MOST_LISTED]:
        process = process_of(_text(root / f"proc/{number}/stat"))
        if process is not None:
            yield {name: process[name] for name in ("id", "name", "parent")}


def _user() -> dict[str, Any]:
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = ""
    return {"id": number, "group": os.getgid(), "name": name}
