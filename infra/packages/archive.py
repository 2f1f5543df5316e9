"""Archives: zips whose bytes follow from their files alone: no clock, no user, no order of a folder."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from infra.packages.contents import Files

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
_UNIX = 3
_FILE, _PROGRAM = 0o100644, 0o100755


@dataclass(frozen=True)
class Zip:
    """A built zip."""

    path: Path
    zipped: int
    unzipped: int
    sha256: str

    def __str__(self) -> str:
        sizes = f"{self.zipped / 1e6:6.1f} MB zipped {self.unzipped / 1e6:6.1f} MB unzipped"
        return f"{self.path.name:18} {sizes}  sha256 {self.sha256}"


def write_zip(path: Path, files: Files, *, over: Path | None = None, programs: Collection[str] = ()) -> Zip:
    """Write the files in the order of their names, after those of the zip ``over``.

    The path changes only if the bytes do, and then at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
        made = Path(scratch, path.name)
        if over is not None:
            shutil.copyfile(over, made)
        with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED, compresslevel=6) as opened:
            for name in sorted(files):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system = _UNIX
                entry.external_attr = (_PROGRAM if name in programs else _FILE) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                opened.writestr(entry, files[name])
            unzipped = sum(entry.file_size for entry in opened.infolist())
        sha256 = _sha256(made)
        if not path.exists() or _sha256(path) != sha256:
            made.replace(path)
    return Zip(path, path.stat().st_size, unzipped, sha256)


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
