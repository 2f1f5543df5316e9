"""Wheels: downloaded once for each lock and target, checked by pip against the lock's hashes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.packages.targets import Target


class PackageError(Exception):
    """A zip could not be built; the text says why and what to do."""


def locked(lock: Path, target: Target) -> dict[str, str]:
    """The lock's lines that apply to the target: requirement to the whole line, without its marker."""
    joined = lock.read_text("utf-8").replace("\\\n", " ")
    found = {}
    for line in joined.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        requirement, _, hashes = line.partition("--hash=")
        if target.wants(requirement):
            pinned = requirement.partition(";")[0].strip()
            found[pinned] = f"{pinned} --hash={hashes}"
    return found


def digest(*parts: str | bytes) -> str:
    """A short name for exactly these parts."""
    whole = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        whole.update(len(raw).to_bytes(8, "big") + raw)
    return whole.hexdigest()[:16]


def wheels_of(lock: Path, target: Target, cache: Path) -> list[Path]:
    """The wheels of a lock, by name; downloaded unless these very ones are in the cache.

    Raises ``PackageError`` where one cannot be had.
    """
    lines = locked(lock, target)
    options = target.pip_options()
    python = "" if options else sys.version
    prefix = f"{lock.stem}-{target.name}-"
    folder = cache / (prefix + digest(*lines.values(), *options, python))
    if not folder.exists():
        _download(lines, options, folder)
        for old in cache.glob(f"{prefix}*"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
    return sorted(folder.glob("*.whl"))


def _download(lines: dict[str, str], options: list[str], folder: Path) -> None:
    """All or nothing: the folder appears when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        lock = Path(scratch, "lock.txt")
        lock.write_text("\n".join(lines.values()) + "\n")
        made = Path(scratch, "wheels")
        command = [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download"),
            *("--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
            *options,
            *("--requirement", str(lock), "--dest", str(made)),
        ]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - pip
        if ended.returncode:
            said = "\n".join(ended.stderr.strip().splitlines()[-5:])
            raise PackageError(f"the wheels of {folder.name} could not be downloaded:\n{said}")
        if len(list(made.glob("*.whl"))) != len(lines):
            raise PackageError(f"pip gave other wheels than the {len(lines)} of {folder.name}'s lock")
        try:
            made.rename(folder)
        except OSError:
            if not folder.exists():  # otherwise another build was quicker, with the same wheels
                raise
