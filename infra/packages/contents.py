"""Contents: which files of the libraries and of this project go into a zip."""

from __future__ import annotations

import re
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from infra.packages.wheels import PackageError

Files = dict[str, bytes]

OURS = ("lambdas", "pipeline", "stages")

# The terminal, the practice engine, SQL on this machine and its brokers, the sources' golden answers.
_NOT_OURS = re.compile(
    r"pipeline/(cli|practice|query|sources/golden)/|pipeline/(__main__|golden\w*|local|trying)\.py"
    r"|pipeline/queues/kombu\w*\.py|pipeline/pacers/redis\.py"
)

_SOURCES = {
    *(".a", ".c", ".cc", ".cmake", ".cpp", ".h", ".hash", ".hpp", ".inc", ".pxd", ".pxi", ".pyi", ".pyx"),
    *(".pyc", ".typed"),
}
_FOLDERS = {"tests", "test", "testing", "include", "includes", "__pycache__"}

# What no function reaches: how names in the wheels begin.
_UNUSED = (
    # Flight, ORC, other clouds, encryption, C++ tests. S3, dataset, acero and substrait are needed.
    r"pyarrow/(libarrow_(python_)?(flight|gandiva)|_?(flight|gandiva|orc|dataset_orc)\.)",
    r"pyarrow/_?(hdfs|gcsfs|azurefs|pyarrow_cpp_tests|cuda|benchmark)\.",
    r"pyarrow/(libarrow_python_parquet_encryption|_(dataset_)?parquet_encryption\.)",
    r"pyarrow/src/",
    # A second binding, as large as the one that is used.
    r"zstandard/(_cffi|backend_cffi)",
    r"multidict/_testcapi",
    r"lxml/(objectify|isoschematron/|sax\.|html/(_?diff|_difflib|soupparser|html5parser))",
    # The catalogs' terminal, and Hive's client.
    r"(pyiceberg/cli|hive_metastore|fb303)/",
    r"pydantic/(v1/|mypy)",
    r"annotated_types/test_cases",
    r"pyparsing/(diagram|ai)/",
)


def library_files(wheels: Iterable[Path]) -> Files:
    """What the wheels install, without what no function needs. Raises ``PackageError`` if two disagree."""
    found: Files = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as opened:
            installed = {name: where for where in opened.namelist() if (name := _installed(where))}
            for name in _needed(installed):
                if name in found:
                    raise PackageError(f"{name} is in two wheels, one of them {wheel.name}")
                found[name] = opened.read(installed[name])
    return found


def _installed(name: str) -> str:
    """Where a wheel's member is installed; "" for scripts, headers and data."""
    head, _, rest = name.partition("/")
    if name.endswith("/"):
        return ""
    if head.endswith(".data"):
        scheme, _, inside = rest.partition("/")
        return inside if scheme in ("purelib", "platlib") else ""
    return name


def _needed(names: Iterable[str]) -> Iterator[str]:
    names = sorted(names)
    present = set(names)
    for name in names:
        path = PurePosixPath(name)
        if path.parts[0].endswith(".dist-info"):
            # For importlib.metadata; entry points and records are read by nobody here.
            if path.name == "METADATA":
                yield name
        elif not (
            path.suffix in _SOURCES
            or _FOLDERS.intersection(path.parts[:-1])
            or any(re.match(unused, name) for unused in _UNUSED)
            or _second_name(name, present)
        ):
            yield name


def _second_name(name: str, present: set[str]) -> bool:
    """Whether a library is there under its loader's name (``libx.so.2`` of ``libx.so.2.0``)."""
    match = re.fullmatch(r"(.*/lib[^/]*\.so)((?:\.\d+)*)", name)
    if match is None:
        return False
    stem, version = match.groups()
    if not version:
        return any(re.fullmatch(re.escape(stem) + r"\.\d+", other) for other in present)
    return version.count(".") > 1 and f"{stem}.{version.split('.')[1]}" in present


def own_files(root: Path) -> Files:
    """Give this project's modules, the sources' files, and its version for ``importlib.metadata``."""
    found: Files = {}
    for room in OURS:
        for path in sorted((root / room).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix in (".py", ".toml") and path.is_file() and not _NOT_OURS.match(name):
                found[name] = path.read_bytes()
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    name, version = project["name"], project["version"]
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    found[f"{name}-{version}.dist-info/METADATA"] = metadata.encode()
    return found


BOOTSTRAP = b"""#!/bin/sh
# What a provided.al2023 runtime starts: the given Python with AWS's runtime client, over this zip's packages.
cd "${LAMBDA_TASK_ROOT:-$(dirname "$0")}" || exit 1
export PYTHONPATH="$PWD"
exec "${SERPLINE_PYTHON:?}" -m awslambdaric "$_HANDLER"
"""
