"""What the kernel's texts say of the machine below: each read by a pure function, none of them trusted.

A text that is missing or of another form gives little, never an error: a probe writes down what there is.
"""

from __future__ import annotations

from typing import Any

MOST_LISTED = 200
"""Mounts and processes that are written down; a machine of somebody's own may have thousands."""

_NO_LIMIT = 1 << 60

_LONGEST = 300
"""Characters of one word that are kept."""


def cpu_of(cpuinfo: str) -> tuple[str, int]:
    """The model and the number of processors in ``/proc/cpuinfo``."""
    entries = [(name.strip(), value.strip()) for name, _, value in _pairs(cpuinfo, ":")]
    count = sum(1 for name, _ in entries if name == "processor")
    told = dict(reversed(entries))
    # Arm's names no model: what it has of one stands in numbers.
    numbers = ("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision")
    model = told.get("model name") or " ".join(
        f"{name.removeprefix('CPU ')} {told[name]}" for name in numbers if name in told
    )
    return _short(model), count


def memory_of(meminfo: str) -> dict[str, int]:
    """The kilobytes that ``/proc/meminfo`` says of total, free, available and swap."""
    names = ("MemTotal", "MemFree", "MemAvailable", "SwapTotal")
    told = {name.strip(): value.split() for name, _, value in _pairs(meminfo, ":")}
    return {name: int(told[name][0]) for name in names if told.get(name) and _is_number(told[name][0])}


def mounts_of(mounts: str) -> list[dict[str, Any]]:
    """Where what is mounted, by which file system, and whether it can be written to: ``/proc/mounts``."""
    found = []
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) >= 4:
            device, path, kind, options = (_unescaped(word) for word in words[:4])
            writable = "rw" in options.split(",")
            found.append({"device": device, "path": path, "type": kind, "writable": writable})
    return found[:MOST_LISTED]


def release_of(os_release: str) -> str:
    """The name of the system in ``/etc/os-release``: the pretty one, or name and version."""
    told = {name: value.strip().strip("\"'") for name, _, value in _pairs(os_release, "=")}
    name = told.get("PRETTY_NAME") or " ".join(
        told[word] for word in ("NAME", "VERSION_ID") if told.get(word)
    )
    return _short(name)


def process_of(stat: str) -> dict[str, Any] | None:
    """A process in its ``/proc/<id>/stat``: its id, name and parent, and the ticks at which it began."""
    number, _, rest = stat.partition(" (")
    # A name may hold brackets of its own.
    name, closed, after = rest.rpartition(") ")
    fields = after.split()
    if not closed or not _is_number(number) or len(fields) < 20:
        return None
    if not _is_number(fields[1]) or not _is_number(fields[19]):
        return None
    return {"id": int(number), "name": _short(name), "parent": int(fields[1]), "began": int(fields[19])}


def uptime_of(uptime: str) -> float | None:
    """Seconds since the machine began: ``/proc/uptime``."""
    try:
        return float(uptime.split(maxsplit=1)[0])
    except (IndexError, ValueError):
        return None


def boot_of(boot_id: str) -> str:
    """What tells this boot of the machine from every other: ``/proc/sys/kernel/random/boot_id``."""
    return _short(boot_id.strip())


def limit_of(memory_max: str) -> int | None:
    """The bytes that the group of processes may take; None where it says none."""
    word = memory_max.strip()
    # The older kind of groups writes "no limit" as the largest number of pages.
    return int(word) if _is_number(word) and int(word) < _NO_LIMIT else None


def _pairs(text: str, mark: str) -> list[tuple[str, str, str]]:
    return [line.partition(mark) for line in text.splitlines() if mark in line]


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 20


def _short(text: str) -> str:
    return text[:_LONGEST]


def _unescaped(word: str) -> str:
    """A word of the list of mounts: blanks in it are written as octal numbers."""
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, letter)
    return _short(word)
