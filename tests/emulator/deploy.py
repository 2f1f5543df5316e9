"""The project's own terraform configuration, applied to an emulator from a copy of its folder."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.emulator.emulator import CALLER, REGION
from tests.emulator.tools import BUILD, ROOT, terraform, terraform_environment

CONFIGURATION = ROOT / "infra" / "terraform"
PACKAGES = BUILD / "packages"

# What any emulator needs of the provider, whichever provider that is; the endpoint comes by AWS_ENDPOINT_URL.
OVERRIDE = """\
terraform {
  backend "local" {}
}

provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
}
"""


class CommandFailed(RuntimeError):
    """A command that should have worked did not; the message has what it said."""


def build_packages() -> None:
    """Make the local zips; a second or two where only our own code changed."""
    command = [sys.executable, "-m", "infra.packages", "--target", "local"]
    _ran(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False))  # noqa: S603 - ours


class Deployment:
    """One copy of the configuration with its state, against the AWS at ``endpoint``."""

    def __init__(self, folder: Path, endpoint: str, variables: Mapping[str, Any]) -> None:
        self.folder = folder
        self._terraform = str(terraform())
        self._environment = {
            **terraform_environment(),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": CALLER,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        leftovers = shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars", "*.tfvars.json")
        shutil.copytree(CONFIGURATION, folder, ignore=leftovers)
        (folder / "emulator_override.tf").write_text(OVERRIDE)
        self._variables = {**_local_variables(), **variables}
        self.write(self._variables)

    def write(self, variables: Mapping[str, Any]) -> None:
        """Change variables; those not named stay."""
        self._variables = {**self._variables, **variables}
        (self.folder / "emulator.auto.tfvars.json").write_text(json.dumps(self._variables))

    def init(self) -> None:
        """Find the providers."""
        self.run("init", "-input=false")

    def apply(self, **variables: Any) -> None:
        """Make it so."""
        self.write(variables)
        self.run("apply", "-auto-approve", "-input=false", "-parallelism=20")

    def changes(self) -> bool:
        """Whether a plan would change anything."""
        return self.run("plan", "-detailed-exitcode", "-input=false", fine=(0, 2)).returncode == 2

    def destroy(self) -> None:
        """Take everything away."""
        self.run("destroy", "-auto-approve", "-input=false", "-parallelism=20")

    def outputs(self) -> dict[str, Any]:
        """The outputs' values."""
        said = json.loads(self.run("output", "-json", plain=False).stdout)
        return {name: output["value"] for name, output in said.items()}

    def run(
        self, *words: str, fine: tuple[int, ...] = (0,), plain: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """One terraform command. Raises ``CommandFailed`` with its last lines where it ends otherwise."""
        command = [self._terraform, *words, *(["-no-color"] if plain else [])]
        done = subprocess.run(  # noqa: S603 - terraform with our own words
            command,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return _ran(done, fine)


def _local_variables() -> dict[str, Any]:
    return {
        "contact": "tests@example.org",
        "region": REGION,
        "packages": str(PACKAGES),
        "package_build": "local",
        "function_runtime": "provided.al2023",
        "architecture": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
        "force_destroy": True,
    }


def _ran(
    done: subprocess.CompletedProcess[str], fine: tuple[int, ...] = (0,)
) -> subprocess.CompletedProcess[str]:
    if done.returncode in fine:
        return done
    said = os.linesep.join((done.stdout + done.stderr).strip().splitlines()[-40:])
    raise CommandFailed(f"{' '.join(map(str, done.args[:3]))} ended with {done.returncode}; it said:\n{said}")
