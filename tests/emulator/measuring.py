"""``serpline measure`` on the emulator as an operator runs it, and what it left in bucket and table."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from pipeline import keys
from pipeline.catalog import Tables
from pipeline.glue import open_glue_catalog
from pipeline.storage.s3 import S3Storage
from stages.measure import Reading, decode_reading
from tests.emulator.emulator import CALLER, REGION
from tests.emulator.system import System

NAME = "serpline-measure"


def measure(system: System, *words: str, said: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    """``serpline measure`` as an operator runs it, who answers ``said`` to what it asks."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SERPLINE_"))},
        "AWS_ENDPOINT_URL": system.emulator.url,
        "AWS_ACCESS_KEY_ID": CALLER,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SERPLINE_NAME": NAME,
        "SERPLINE_CONTACT": "tests@example.org",
        "SERPLINE_LAKE": f"s3://{system.bucket}",
    }
    done = subprocess.run(  # noqa: S603 - the command itself
        [sys.executable, "-m", "pipeline", "measure", *words],
        env=environment,
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr + system.complaints()
    return done


def readings(system: System, experiment: str) -> list[Reading]:
    """What the probes of an experiment wrote."""
    storage = S3Storage(system.client("s3"), system.bucket)
    found = [key for key in storage.keys(keys.measurements(experiment)) if keys.is_reading(key)]
    return [decode_reading(storage.get(key)) for key in found]


def rows(system: System, experiment: str) -> list[Reading]:
    """What the table has of it."""
    catalog = open_glue_catalog(
        system.client("glue"),
        NAME.replace("-", "_"),
        system.bucket,
        region=REGION,
        endpoint=system.emulator.url,
    )
    for name, value in (("s3.access-key-id", CALLER), ("s3.secret-access-key", "test")):
        catalog.properties[name] = value
    return Tables(catalog).readings(experiment.partition("-")[0], experiment)


def schedules(system: System) -> list[str]:
    """The schedules that are still there."""
    told = system.client("scheduler").list_schedules(GroupName=f"{NAME}-measure")
    return [one["Name"] for one in told["Schedules"]]


def named(done: subprocess.CompletedProcess[str]) -> str:
    """The experiment that a command spoke of."""
    found = re.search(r"experiment ((environment|lifetime|scaling)-\S+?)[:\s]", done.stdout)
    assert found is not None, done.stdout + done.stderr
    return found[1]


def memory_of(system: System) -> int:
    told = system.client("lambda").get_function_configuration(FunctionName=f"{NAME}-probe")
    return int(told["MemorySize"])
