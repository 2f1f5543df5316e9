"""Where the tools of this suite are, and which are missing; ``.ci/tools`` (``make tools``) gets them."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from tests.servers import Missing

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build"
INSTALL = "`make tools` installs it"


def tool(name: str) -> Path:
    """A program of the emulator's environment: ``SERPLINE_EMULATOR``, or what ``.ci/tools`` made."""
    path = Path(os.environ.get("SERPLINE_EMULATOR", BUILD / "emulator" / "bin")).absolute() / name
    if not path.exists():
        raise Missing(f"{name} is not installed; {INSTALL}")
    return path


def function_python() -> Path:
    """The interpreter that functions run in."""
    path = BUILD / "runtime" / "bin" / "python"
    if not path.exists():
        raise Missing(f"the interpreter of functions is not installed; {INSTALL}")
    return path


def checkov() -> Path:
    """The checker of terraform configurations."""
    path = BUILD / "checkov" / "bin" / "checkov"
    if not path.exists():
        raise Missing(f"checkov is not installed; {INSTALL}")
    return path


def terraform() -> Path:
    """Terraform, with providers to be had: by a CLI configuration, or from the registry."""
    found = shutil.which("terraform")
    if found is None:
        raise Missing("terraform is not on the PATH")
    if not _cli_configuration() and not _reaches("registry.terraform.io"):
        raise Missing("terraform's providers cannot be had: registry.terraform.io is out of reach")
    return Path(found)


def terraform_environment() -> dict[str, str]:
    """The environment for terraform: ``.ci/tools`` may have set up providers of its own."""
    environment = dict(os.environ, TF_IN_AUTOMATION="1", CHECKPOINT_DISABLE="1")
    environment.pop("TF_CLI_CONFIG_FILE", None)
    if configuration := _cli_configuration():
        environment["TF_CLI_CONFIG_FILE"] = configuration
    return environment


def missing(suite: str) -> str:
    """Why ``tests/<suite>`` cannot run here, in one sentence; empty where it can."""
    needed = {
        "emulator": (terraform, lambda: tool("ministack"), lambda: tool("microburst"), function_python),
        "terraform": (terraform, lambda: tool("ministack"), checkov),
    }[suite]
    try:
        for one in needed:
            one()
    except Missing as lacking:
        return str(lacking)
    return ""


def _cli_configuration() -> str:
    written = BUILD / "terraformrc-path"
    for path in (
        written.read_text().strip() if written.exists() else "",
        os.environ.get("TF_CLI_CONFIG_FILE", ""),
    ):
        if path and Path(path).is_file():
            return path
    return ""


def _reaches(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=2).close()
    except OSError:
        return False
    return True
