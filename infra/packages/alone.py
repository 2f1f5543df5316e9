"""Alone: code run as a function sees the world, with its zip, the standard library and the runtime's."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path

RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
"""What Lambda's Python runtime has beside the standard library."""

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_REGION": "eu-central-1",
    "SERPLINE_NAME": "serpline",
    "SERPLINE_LAKE": "s3://serpline-000000000000-eu-central-1",
    "SERPLINE_CONTACT": "someone@example.com",
    "SERPLINE_SOURCE": "practice_api",
    "SERPLINE_LANE": "0",
    "SERPLINE_TERMS": '{"practice_api": {"rate": 1.0, "burst": 1, "concurrency": 2, "base_url": ""}}',
    "SERPLINE_MAPPINGS": '{"practice_api": ["00000000-0000-0000-0000-000000000000"]}',
}
"""A function's variables: enough to import it and to open its clients, which call nobody by that."""


def unpack(package: Path, folder: Path) -> Path:
    """The zip's files in a folder that holds nothing else."""
    with zipfile.ZipFile(package) as opened:
        opened.extractall(folder)
    return folder


def runtime_folder(folder: Path) -> Path:
    """A folder with the runtime's libraries and nothing else, taken from this interpreter's."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise ModuleNotFoundError(name)
        place = Path(found.origin)
        place = place.parent if place.name == "__init__.py" else place
        link = folder / place.name
        link.unlink(missing_ok=True)
        link.symlink_to(place)
    return folder


def command(
    code: str, folder: Path, runtime: Path, *options: str, python: Path | str = sys.executable
) -> list[str]:
    """Run the code with a Python, the zip's folder before and the runtime's after the standard library."""
    paths = f"import sys; sys.path.insert(0, {str(folder)!r}); sys.path.append({str(runtime)!r})\n"
    return [str(python), "-I", "-S", "-B", *options, "-c", paths + code]
