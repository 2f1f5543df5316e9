"""Build: a zip of one kind for one target, from the lock's wheels and this project's modules."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.packages.archive import Zip, write_zip
from infra.packages.bytecode import compiled
from infra.packages.contents import BOOTSTRAP, library_files, own_files
from infra.packages.targets import Target
from infra.packages.wheels import digest, locked, wheels_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "build" / "packages"
WHEELS = PACKAGES / "wheels"
LAYERS = PACKAGES / "layers"

_RULES = ("archive", "bytecode", "contents")
"""The modules here that decide about a layer's bytes."""


def build(
    kind: str, target: Target, folder: Path = PACKAGES, *, layers: Path = LAYERS, root: Path = ROOT
) -> Zip:
    """Build a zip of the project at ``root``. Raises ``PackageError`` with what is missing."""
    own = own_files(root)
    python = target.compiler()
    if python is not None:
        own |= compiled(own, python)
    if target.local:
        own["bootstrap"] = BOOTSTRAP
    layer = _layer(kind, target, python, layers)
    return write_zip(folder / f"{kind}-{target.name}.zip", own, over=layer, programs=("bootstrap",))


def _layer(kind: str, target: Target, python: Path | None, layers: Path) -> Path:
    """The libraries of a kind as a zip, made anew when the lock, these rules or the Python change."""
    lock = ROOT / "requirements" / f"{kind}.txt"
    rules = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in _RULES]
    compiler = f"{python} {python.resolve().stat().st_mtime_ns}" if python else ""
    prefix = f"{kind}-{target.name}-"
    name = prefix + digest(*locked(lock, target).values(), *rules, compiler, sys.version)
    path = layers / f"{name}.zip"
    with _alone(layers):
        if path.exists():
            return path
        files = library_files(wheels_of(lock, target, WHEELS))
        if python is not None:
            files |= compiled(files, python)
        write_zip(path, files)
        for old in layers.glob(f"{prefix}*.zip"):
            if old != path:
                old.unlink(missing_ok=True)
    return path


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else makes a layer here meanwhile: two that begin together would load and pack it all twice."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
