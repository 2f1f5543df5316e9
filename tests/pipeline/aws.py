"""AWS for tests of the pipeline: an emulator, a Glue that loses replies, and what they hold."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from pyiceberg.catalog import Catalog

from pipeline.catalog import Tables
from pipeline.glue import SureGlueCatalog

REGION = "eu-central-1"
DATABASE = "serpline_test"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}


def programs() -> Path:
    """Where the emulator's programs are: ``SERPLINE_EMULATOR``, else the build's own environment."""
    given = os.environ.get("SERPLINE_EMULATOR", "")
    return Path(given) if given else Path(__file__).parents[2] / "build" / "emulator" / "bin"


@contextmanager
def running_emulator(work: Path) -> Iterator[str]:
    """An emulator on a free port; gives its address."""
    program = programs() / "ministack"
    if not program.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no emulator at {program}")
        pytest.skip(f"no emulator at {program}: install it there or name its place in SERPLINE_EMULATOR")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    work.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(work),
        "TMPDIR": str(work),
        "LANG": "C.UTF-8",
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "STATE_DIR": str(work / "state"),
        "S3_DATA_DIR": str(work / "s3"),
        "LOG_LEVEL": "WARNING",
    }
    log = (work / "log").open("wb")
    process = subprocess.Popen(  # noqa: S603  # its place is the developer's own
        [program], env=environment, cwd=work, stdout=log, stderr=log, start_new_session=True
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(process, address)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            urlopen(f"{address}/_ministack/health", timeout=2).close()  # noqa: S310  # this machine
        except (URLError, OSError):
            assert process.poll() is None, "the emulator ended"
            assert time.monotonic() < end, "the emulator does not answer"
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One emulator for all tests."""
    with running_emulator(tmp_path_factory.mktemp("emulator")) as address:
        yield address


def client(service: str, address: str) -> Any:
    """A client of the emulator."""
    return boto3.client(
        service,
        endpoint_url=address,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106  # the emulator's
        config=Config(retries={"mode": "standard", "max_attempts": 3}, s3={"addressing_style": "path"}),
    )


class Lossy:
    """A Glue client in front of another whose next replies are lost, or repeated as botocore repeats them."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.plan: list[Callable[[Callable[[], Any]], Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def update_table(self, **given: Any) -> Any:
        step = self.plan.pop(0) if self.plan else None
        return step(lambda: self._inner.update_table(**given)) if step else self._inner.update_table(**given)


def refusal(code: str, operation: str = "UpdateTable") -> ClientError:
    """An answer of Glue that is an error."""
    return ClientError({"Error": {"Code": code, "Message": "so it is"}}, operation)


class FakeGlue:
    """Glue's tables of one database in memory, with its version check."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        kinds = ("EntityNotFoundException", "ConcurrentModificationException", "AlreadyExistsException")
        self.exceptions = SimpleNamespace(**{name: type(name, (ClientError,), {}) for name in kinds})

    def _raise(self, code: str) -> None:
        raise getattr(self.exceptions, code)({"Error": {"Code": code, "Message": code}}, "glue")

    def get_database(self, Name: str) -> dict[str, Any]:  # noqa: N803  # boto3's name
        return {"Database": {"Name": Name}}

    def get_table(self, DatabaseName: str, Name: str) -> dict[str, Any]:  # noqa: N803  # boto3's names
        if Name not in self.tables:
            self._raise("EntityNotFoundException")
        table = {**self.tables[Name], "DatabaseName": DatabaseName}
        return {"Table": {**table, "Parameters": dict(table["Parameters"])}}

    def create_table(self, DatabaseName: str, TableInput: dict[str, Any]) -> None:  # noqa: ARG002, N803
        if TableInput["Name"] in self.tables:
            self._raise("AlreadyExistsException")
        self.tables[TableInput["Name"]] = {**TableInput, "VersionId": "0"}

    def update_table(self, TableInput: dict[str, Any], VersionId: str, **_: object) -> None:  # noqa: N803
        with self._lock:
            now = self.tables[TableInput["Name"]]["VersionId"]
            if now != VersionId:
                self._raise("ConcurrentModificationException")
            self.tables[TableInput["Name"]] = {**TableInput, "VersionId": str(int(now) + 1)}

    def delete_table(self, DatabaseName: str, Name: str) -> None:  # noqa: ARG002, N803
        if self.tables.pop(Name, None) is None:
            self._raise("EntityNotFoundException")


def pages_of(catalog: Catalog) -> Any:
    """The table of pages, as it is now."""
    return catalog.load_table((catalog.name, "pages"))


def rows_of(catalog: Catalog) -> Counter[str]:
    """Every row with all its columns, and how often it is there."""
    return Counter(map(repr, pages_of(catalog).scan().to_arrow().to_pylist()))


def each_once(catalog: Catalog) -> Counter[tuple[object, ...]]:
    """How often each (keyword, page) is in the table."""
    read = pages_of(catalog).scan(selected_fields=("keyword", "page")).to_arrow().to_pylist()
    return Counter((row["keyword"], row["page"]) for row in read)


def batches(*numbers: int) -> Counter[tuple[object, ...]]:
    """What batches of the catalog's tests put there."""
    return Counter({(f"{number}:{at}", 1): 1 for number in numbers for at in range(3)})


@pytest.fixture
def glue() -> Lossy:
    """A Glue in memory that loses what a test wants lost."""
    return Lossy(FakeGlue())


@pytest.fixture
def sure(glue: Lossy, tmp_path: Path) -> SureGlueCatalog:
    """A Glue catalog whose files are in a folder: what Glue answers is the test's own."""
    catalog = SureGlueCatalog(DATABASE, glue, warehouse=f"file://{tmp_path}/tables")
    catalog.sleep = lambda _: None
    return catalog


def quick(catalog: Catalog) -> Tables:
    """Tables that do not wait between tries."""
    return Tables(catalog, sleep=lambda _: None)
