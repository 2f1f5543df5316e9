"""A copy of the project's Terraform in a folder of its own, and what one asks of it.

The project's folder is never written to: what ``terraform init`` leaves would be a stand-in's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
INFRA = ROOT / "infra" / "terraform"
STAND_IN = ROOT.parent / "shared" / "terraform-offline" / "setup.sh"
REGION = "eu-central-1"

CHANGES = 2
"""What ``plan -detailed-exitcode`` ends with where something would change."""

OVERRIDE = """
# Addresses a bucket by path, as an emulator on a plain address needs it.
provider "aws" {
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true
}
"""

# Stands in for the functions: it notes every event, and answers with it.
BOOTSTRAP = """#!/usr/bin/env python3
import json, os, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(api + "next") as got:
        invocation, event = got.headers["Lambda-Runtime-Aws-Request-Id"], json.loads(got.read())
    if "TRIAL_NOTES" in os.environ:
        with open(os.environ["TRIAL_NOTES"], "a") as notes:
            notes.write(json.dumps({"handler": os.environ["_HANDLER"], "event": event}) + "\\n")
    answer = json.dumps({"event": event}).encode()
    urllib.request.urlopen(urllib.request.Request(api + invocation + "/response", answer)).close()
"""


class Failed(Exception):
    """Terraform said no; the text is what it said."""


def write_packages(folder: Path) -> Path:
    """Zips of every build that hold nothing but a runtime which notes its events."""
    folder.mkdir(parents=True, exist_ok=True)
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = 0o755 << 16
    for weight in ("light", "heavy"):
        for build in ("arm64", "x86_64", "local"):
            with zipfile.ZipFile(folder / f"{weight}-{build}.zip", "w") as package:
                package.writestr(entry, BOOTSTRAP)
    return folder


def terraform_environment(endpoint: str) -> dict[str, str]:
    """The environment of terraform: the providers that there are, and an emulator in place of AWS."""
    known = {name: text for name, text in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
    known |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
    }
    if endpoint:
        known["AWS_ENDPOINT_URL"] = endpoint
    # `make tools` may have written down providers of its own.
    written = ROOT / "build" / "terraformrc-path"
    given = (
        written.read_text("utf-8").strip() if written.is_file() else os.environ.get("TF_CLI_CONFIG_FILE", "")
    )
    if given and Path(given).is_file():
        known["TF_CLI_CONFIG_FILE"] = given
    elif STAND_IN.is_file():
        said = subprocess.run(  # noqa: S603 - our own fixed command
            ["/usr/bin/env", "bash", str(STAND_IN)], check=True, capture_output=True, text=True
        ).stdout
        found = re.search(r"TF_CLI_CONFIG_FILE='([^']+)'", said)
        known |= {"TF_CLI_CONFIG_FILE": found[1]} if found else {}
    elif cache := os.environ.get("TF_PLUGIN_CACHE_DIR"):
        known["TF_PLUGIN_CACHE_DIR"] = cache
    return known


class Workspace:
    """One copy with its own state; ``settings`` are the variables of every plan."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], settings: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = folder
        self.settings = dict(settings or {})
        self._environment = dict(environment)

    def run(self, *words: str, accept: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        """Run terraform; raises ``Failed`` with all it said where it ends otherwise."""
        program = shutil.which("terraform") or "terraform"
        done = subprocess.run(  # noqa: S603 - our own fixed commands
            [program, *words],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in accept:
            raise Failed(f"terraform {' '.join(words)}\n{done.stdout}\n{done.stderr}")
        return done

    def copy(self, folder: Path, settings: Mapping[str, Any]) -> Workspace:
        """A further copy, initialised like this one, with a state of its own."""
        shutil.copytree(self.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("*.tfstate*"))
        return Workspace(folder, self._environment, settings)

    def plan(self, *words: str, **settings: Any) -> dict[str, Any]:
        """What would be done, as ``terraform show -json`` puts it."""
        self._write(settings)
        self.run("plan", "-no-color", "-out=plan", *words)
        planned: dict[str, Any] = json.loads(self.run("show", "-json", "plan").stdout)
        return planned

    def unchanged(self) -> str:
        """Empty where a plan changes nothing, else what it would change."""
        self._write({})
        done = self.run("plan", "-no-color", "-detailed-exitcode", accept=(0, CHANGES))
        return done.stdout if done.returncode == CHANGES else ""

    def apply(self, **settings: Any) -> dict[str, dict[str, Any]]:
        """Apply, keep these settings, and give every resource's values by its address."""
        self.settings |= settings
        self._write({})
        self.run("apply", "-no-color", "-auto-approve", "-parallelism=20")
        return self.state()

    def destroy(self) -> None:
        """Destroy; raises ``Failed`` where something could not be."""
        self._write({})
        self.run("destroy", "-no-color", "-auto-approve", "-parallelism=20")

    def state(self) -> dict[str, dict[str, Any]]:
        """Every resource's values by its address."""
        shown = json.loads(self.run("show", "-json").stdout)
        return resources(shown.get("values", {}))

    def outputs(self) -> dict[str, Any]:
        """The outputs' values."""
        return {
            name: found["value"] for name, found in json.loads(self.run("output", "-json").stdout).items()
        }

    def _write(self, settings: Mapping[str, Any]) -> None:
        (self.folder / "trial.auto.tfvars.json").write_text(json.dumps({**self.settings, **settings}))


def resources(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The managed resources of a state's or a plan's values, modules' too."""
    found: dict[str, dict[str, Any]] = {}
    modules = [values.get("root_module", {})]
    while modules:
        module = modules.pop()
        modules += module.get("child_modules", [])
        for resource in module.get("resources", []):
            if resource["mode"] == "managed":
                found[resource["address"]] = resource["values"]
    return found


def of_type(state: Mapping[str, dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The resources of a type, by their address."""
    return {address: values for address, values in state.items() if f".{kind}." in f".{address}"}
