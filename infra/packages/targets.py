"""Targets: the machines that zips are built for, and the two kinds of zip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

KINDS = ("light", "heavy")
LAMBDA_PYTHON = "3.13"

# Lambda's Python 3.13 stands on Amazon Linux 2023, with glibc 2.34: whatever was built for an older one runs.
_OLDEST_GLIBC, _NEWEST_GLIBC = 17, 34


@dataclass(frozen=True)
class Target:
    """A machine; ``machine`` is its name in wheels, or "" for the one that runs this."""

    name: str
    machine: str = ""

    @property
    def local(self) -> bool:
        """Whether it is this machine, with the Python that runs this."""
        return not self.machine

    def pip_options(self) -> list[str]:
        """What makes ``pip download`` choose this target's wheels."""
        if self.local:
            return []
        glibc = range(_NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1)
        platforms = [*(f"manylinux_2_{minor}_{self.machine}" for minor in glibc)]
        platforms.append(f"manylinux2014_{self.machine}")
        abis = [f"cp{LAMBDA_PYTHON.replace('.', '')}", "abi3", "none"]
        return [
            *("--implementation", "cp", "--python-version", LAMBDA_PYTHON),
            *(option for abi in abis for option in ("--abi", abi)),
            *(option for platform in platforms for option in ("--platform", platform)),
        ]

    def wants(self, requirement: str) -> bool:
        """Whether a line of a lock applies here; pip would judge it by the Python that runs pip."""
        marker = Requirement(requirement).marker
        return marker is None or marker.evaluate(self._environment())

    def _environment(self) -> dict[str, str]:
        if self.local:
            return {name: str(value) for name, value in default_environment().items()}
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{LAMBDA_PYTHON}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{LAMBDA_PYTHON}.0",
            "python_version": LAMBDA_PYTHON,
            "sys_platform": "linux",
        }

    def compiler(self) -> Path | None:
        """A Python whose bytecode the target reads; None where this machine has none."""
        return Path(sys.executable) if self.local else _python(LAMBDA_PYTHON)


TARGETS = (Target("arm64", "aarch64"), Target("x86_64", "x86_64"), Target("local"))


def _python(version: str) -> Path | None:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return Path(sys.executable)
    places = [
        shutil.which(f"python{version}"),
        *sorted(_pyenv().glob(f"{version}.*/bin/python{version}")),
        *sorted(_uv().glob(f"cpython-{version}.*/bin/python{version}")),
    ]
    return next((Path(place) for place in places if place and _runs(Path(place))), None)


def _pyenv() -> Path:
    return Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"


def _uv() -> Path:
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")


def _runs(python: Path) -> bool:
    """Whether it starts: a version manager's stand-in for a version that is not chosen does not."""
    ended = subprocess.run([python, "-S", "-c", ""], check=False, capture_output=True)  # noqa: S603 - a Python
    return ended.returncode == 0
