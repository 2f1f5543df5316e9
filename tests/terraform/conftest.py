"""What the Terraform tests share: an emulator, an initialised copy, one deployment that many look at."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import boto3
import pytest

from tests.servers import Server, free_port
from tests.terraform.workspace import (
    INFRA,
    OVERRIDE,
    REGION,
    ROOT,
    Failed,
    Workspace,
    terraform_environment,
    write_packages,
)

pytestmark = pytest.mark.timeout(300)

SOURCES: dict[str, dict[str, Any]] = {
    "practice_page": {
        "rate": 1.5,
        "quota": 5000,
        "burst": 2,
        "lanes": 3,
        "base_url": "http://127.0.0.1:8650",
        "timeout": 120,
    },
    "brave": {
        "rate": 0.001,
        "max_concurrency": 4,
        "secrets": {
            "BRAVE_API_KEY": "arn:aws:secretsmanager:eu-central-1:000000000000:secret:brave-AbCdEf",
            "SECOND": "arn:aws:ssm:eu-central-1:000000000000:parameter/brave/second",
        },
    },
}
SCHEDULES = {
    "daily": {
        "file": "lists/brand words.csv",
        "expression": "cron(0 6 * * ? *)",
        "timezone": "Europe/Berlin",
        "source": "brave",
        "pages": 2,
        "spread": "6h",
    }
}


def missing(reason: str) -> NoReturn:
    """A tool is not here: on a laptop that is said, where everything must be tested it is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def terraform() -> str:
    """Where terraform is."""
    program = shutil.which("terraform")
    if program is None:
        missing("terraform is not installed; it is a single program from HashiCorp")
    return program


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an emulator of this session's own."""
    programs = Path(os.environ.get("SERPLINE_EMULATOR") or ROOT / "build" / "emulator" / "bin")
    program = programs / "ministack"
    if not program.is_file():
        missing(f"no emulator in {programs}; SERPLINE_EMULATOR names the folder that holds ministack")
    folder = tmp_path_factory.mktemp("emulator")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        "LAMBDA_ACCOUNT_CONCURRENCY": "100",
        "STATE_DIR": str(folder / "state"),
        "S3_DATA_DIR": str(folder / "s3"),
        "LOG_LEVEL": "WARNING",
    }

    def ready() -> bool:
        try:
            health = f"{url}/_ministack/health"
            with urllib.request.urlopen(health, timeout=1.0) as answer:  # noqa: S310 - loopback
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    server = Server(url, folder, [[str(program)]], env, ready)
    server.start()
    yield url
    reset = urllib.request.Request(f"{url}/_ministack/reset", method="POST")  # noqa: S310 - loopback
    urllib.request.urlopen(reset, timeout=30.0).close()  # noqa: S310 - so that no function runs on
    server.stop()


@pytest.fixture(scope="session")
def client(emulator: str) -> Callable[[str], Any]:
    """Clients of the emulator, by service."""

    def make(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=emulator,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - the emulator takes any
        )

    return make


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Zips in place of the functions'."""
    return write_packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def workspace(
    terraform: str, emulator: str, packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """An initialised copy of the configuration, without a state."""
    assert terraform
    folder = tmp_path_factory.mktemp("terraform") / "infra"
    shutil.copytree(INFRA, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    (folder / "emulator_override.tf").write_text(OVERRIDE)
    found = Workspace(folder, terraform_environment(emulator), {"packages": str(packages)})
    try:
        found.run("init", "-backend=false", "-no-color")
    except Failed as error:
        missing(f"the providers could not be had: {error}")
    return found


@pytest.fixture(scope="session")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the deployed stand-ins note the events that they get."""
    return tmp_path_factory.mktemp("notes") / "events.jsonl"


@pytest.fixture(scope="session")
def settings(packages: Path, notes: Path) -> dict[str, Any]:
    """A deployment's variables, for the emulator."""
    return {
        "name": "trial-one",
        "contact": "crawling@example.com",
        "packages": str(packages),
        "package_build": "local",
        "architecture": "x86_64",
        "function_runtime": "provided.al2023",
        "function_environment": {"TRIAL_NOTES": str(notes)},
        "sources": SOURCES,
        "default_source": "practice_page",
        "schedules": SCHEDULES,
        "notify": ["operator@example.com"],
        "monthly_budget_usd": 20,
    }


@pytest.fixture(scope="session")
def deployed(
    workspace: Workspace, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """One applied deployment, which tests look at and put back as it was."""
    found = workspace.copy(tmp_path_factory.mktemp("deployed") / "infra", settings)
    found.apply()
    return found


@pytest.fixture(scope="session")
def state(deployed: Workspace) -> dict[str, dict[str, Any]]:
    """The deployment's resources by address."""
    return deployed.state()
