"""Cold start: what each function does before its first event, from its zip alone.

Each start is a new process that sees the unpacked zip, the standard library and the runtime's boto3, and
nothing else; its CPU time over the statements of ``STARTS`` counts, not the interpreter's own start. Beside
them, round by round, what no function on AWS does without: boto3 with its S3 and SQS clients, and for
the tables' functions pyiceberg's Glue catalog too. Files are in the system's cache, as they are not on
Lambda: the ratios say more than the milliseconds.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from shutil import rmtree

from bench.figures import Failed, Figure, middle
from bench.process import WORK, pinned
from infra.packages import alone
from infra.packages.build import ROOT, build
from infra.packages.targets import KINDS, TARGETS

# A function's imports, and the clients that it opens before its first event.
_OPENED = (
    "; from pipeline.bootstrap_aws import aws_clients; from pipeline.settings import read_settings"
    "; aws = aws_clients(read_settings()); clients = "
)
_TABLES = (
    "; from pipeline.glue import open_glue_catalog"
    "; catalog = open_glue_catalog(aws.glue, 'serpline', 'bucket', region=aws.region)"
)
STARTS = {
    "shard": f"import lambdas.shard{_OPENED}aws.s3, aws.sqs",
    "fetch": f"import lambdas.fetch{_OPENED}aws.s3, aws.sqs, aws.dynamodb",
    "conduct": f"import lambdas.conduct{_OPENED}aws.s3, aws.sqs, aws.dynamodb, aws.lambda_",
    "aggregate": f"import lambdas.aggregate{_OPENED}aws.s3, aws.sqs{_TABLES}",
    "compact": f"import lambdas.compact{_OPENED}aws.s3{_TABLES}",
}
KIND = {"shard": "heavy", "fetch": "light", "conduct": "light", "aggregate": "heavy", "compact": "heavy"}

CLIENTS = "import boto3; s3 = boto3.client('s3'); sqs = boto3.client('sqs')"
GLUE = (
    f"{CLIENTS}; from pyiceberg.catalog.glue import GlueCatalog; import pyiceberg.io.pyarrow; "
    "catalog = GlueCatalog('serpline', client=boto3.client('glue'), warehouse='s3://serpline/tables')"
)
RATIOS = {
    "cold_start_fetch_vs_boto3": ("fetch", 1.6),
    "cold_start_aggregate_vs_glue_catalog": ("aggregate", 1.3),
}
FLOOR = {"light": CLIENTS, "heavy": GLUE}
NAMES = (*RATIOS, *(f"cold_start_{name}_milliseconds" for name in STARTS))

ROUNDS_EACH = 5
"""Starts in each of the asked rounds: they take half a second."""

SHOWN_PARTS = 6

_FOLDER = WORK / "cold_start"
_TIMED = """
import sys, time
print("began", file=sys.stderr, flush=True)
cpu, began = time.process_time(), time.perf_counter()
{code}
print((time.process_time() - cpu) * 1000, (time.perf_counter() - began) * 1e6)
"""


def bench_cold_start(_scale: float, repeat: int, wanted: Collection[str]) -> Iterator[Figure]:
    """``NAMES``: two ratios, and the milliseconds of each function with its largest parts as peers."""
    functions = [name for name in STARTS if f"cold_start_{name}_milliseconds" in wanted]
    functions += [name for ratio, (name, _) in RATIOS.items() if ratio in wanted and name not in functions]
    missing = [name for name in functions if not (ROOT / "lambdas" / f"{name}.py").exists()]
    if missing:
        raise Failed(f"there is no function {', '.join(missing)}")
    folders = _unpacked()
    times: dict[str, list[float]] = {name: [] for name in (*functions, *FLOOR)}
    for started in range(repeat * ROUNDS_EACH + 1):
        for name, taken in times.items():
            kind = KIND.get(name, name)
            milliseconds = _start(STARTS.get(name) or FLOOR[kind], folders[kind], folders["runtime"])
            if started:  # the first one reads the files from the disk
                taken.append(milliseconds)
    medians = {name: middle(taken) for name, taken in times.items()}
    for ratio, (name, goal) in RATIOS.items():
        if name in medians:
            value = medians[name] / medians[KIND[name]]
            yield Figure(ratio, value, "x the same without us", goal=goal, at_most=True)
    for name in functions:
        kind = KIND[name]
        yield Figure(
            f"cold_start_{name}_milliseconds",
            medians[name],
            "CPU ms",
            floor=medians[kind],
            peers=_parts(STARTS[name], folders[kind], folders["runtime"], medians[name], repeat),
            at_most=True,
        )


def _unpacked() -> Mapping[str, Path]:
    """The zips of this machine as folders, and ``runtime`` with what Lambda's runtime brings."""
    local = next(target for target in TARGETS if target.local)
    if _FOLDER.exists():
        rmtree(_FOLDER)
    folders = {kind: alone.unpack(build(kind, local).path, _FOLDER / kind) for kind in KINDS}
    return folders | {"runtime": alone.runtime_folder(_FOLDER / "runtime")}


def _start(code: str, folder: Path, runtime: Path) -> float:
    """The CPU milliseconds of one start."""
    return float(_run(_TIMED.format(code=code), folder, runtime).stdout.split()[-2])


def _parts(code: str, folder: Path, runtime: Path, whole: float, rounds: int) -> Mapping[str, float]:
    """The largest parts of a start by top package, and ``clients``: whatever was not spent on imports.

    ``-X importtime`` costs time itself, so its shares are laid over the time without it.
    """
    runs = [
        _spent(_run(_TIMED.format(code=code), folder, runtime, "-X", "importtime")) for _ in range(rounds)
    ]
    spent = Counter({part: middle(run[part] for run in runs) for part in set().union(*runs)})
    return {part: took / spent.total() * whole for part, took in spent.most_common(SHOWN_PARTS)}


def _spent(run: subprocess.CompletedProcess[str]) -> Counter[str]:
    """Microseconds by part."""
    spent: Counter[str] = Counter()
    for line in run.stderr.partition("began\n")[2].splitlines():
        own, _, module = line.removeprefix("import time:").split("|")
        spent[_part(module.strip())] += int(own)
    spent["clients"] = max(0, round(float(run.stdout.split()[-1])) - spent.total())
    return spent


def _part(module: str) -> str:
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return "stdlib"
    return "serpline" if top in ("lambdas", "pipeline", "stages") else top


def _run(code: str, folder: Path, runtime: Path, *options: str) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        pinned(alone.command(code, folder, runtime, *options), 0),
        check=False,
        capture_output=True,
        text=True,
        env=alone.ENVIRONMENT | {"PATH": "/usr/bin:/bin"},
        cwd=folder,
    )
    if ended.returncode:
        raise Failed(f"a cold start failed:\n{ended.stderr[-1_000:]}")
    return ended
