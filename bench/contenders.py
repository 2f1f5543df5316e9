"""Contenders: who turns a file of questions into results, how each is run, and that all say the same.

Every run is from the bare process to the last byte of its output. Its answers are read afterwards
and brought to one fingerprint (each page's question, total and results), which must be everybody's.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import orjson

from bench.figures import Failed
from bench.peer_env import peer_python
from bench.process import ROOT, WORK, Measured, measure
from bench.static_site import RESULTS_A_PAGE
from pipeline.catalog import Tables
from pipeline.iceberg import open_folder_catalog
from pipeline.runs import all_runs
from pipeline.storage.folder import FolderStorage

FIELDS = ("rank", "title", "url", "snippet")

_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(256 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
"""For the floor: otherwise glibc gives each page's tree back to the kernel and asks for it again, at a
third of the CPU. The others run as their users would run them."""


class Job(msgspec.Struct, frozen=True):
    """The questions, where to ask them, and the folder of sources that ask there."""

    base_url: str
    sources: Path
    keywords: Path
    pages: int


class Ran(msgspec.Struct, frozen=True):
    """One contender's run: its cost and the fingerprint of its answers."""

    measured: Measured
    fingerprint: int

    def milliseconds(self, job: Job) -> float:
        """CPU a page."""
        return self.measured.cpu * 1000 / job.pages


def run_serpline(job: Job, kind: str) -> Ran:
    """``serpline run`` into an empty lake, up to its committed tables."""
    lake = WORK / "lake"
    shutil.rmtree(lake, ignore_errors=True)
    source = f"bench_{kind}"
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "run",
        str(job.keywords),
        "--source",
        source,
        "--lake",
        str(lake),
    ]
    measured = measure(command, env={"SERPLINE_SOURCES": str(job.sources)})
    catalog = open_folder_catalog(lake)
    (run,) = all_runs(FolderStorage(lake))
    ledger = Tables(catalog).ledger(run.run_id, run.run_date)
    if not ledger.complete or ledger.pages != {"ok": job.pages}:
        raise Failed(
            f"serpline run ended with {ledger.pages} of {job.pages:,} pages:\n{measured.output[-800:]}"
        )
    columns = ("keyword", "total_results", "results")
    rows = catalog.load_table(("serpline", "pages")).scan(selected_fields=columns).to_arrow().to_pylist()
    return _ran(job, measured, ((row["keyword"], row["total_results"], row["results"]) for row in rows))


def run_by_hand(job: Job, kind: str) -> Ran:
    """The floor."""
    output = WORK / "by_hand.jsonl"
    command = [
        sys.executable,
        "-m",
        "bench.children.by_hand",
        kind,
        job.base_url,
        str(job.keywords),
        str(output),
    ]
    return _read(job, measure(command, env=_KEEP_MEMORY), output)


def run_peer(job: Job, name: str) -> Ran:
    """``scrapy`` or ``crawlee``, from the environment of the peers."""
    output = WORK / f"{name}.jsonl"
    program = ROOT / "bench" / "children" / f"{name}_peer.py"
    command = [peer_python(), str(program), job.base_url, str(job.keywords), str(output)]
    return _read(job, measure(command, env={"PYTHONPATH": ""}), output)


def agree(runs: Iterable[Ran]) -> None:
    """Raises ``Failed`` unless all gave the same answers."""
    if len({ran.fingerprint for ran in runs}) > 1:
        raise Failed("the contenders read different results from the same pages: nothing was compared")


def _read(job: Job, measured: Measured, output: Path) -> Ran:
    with output.open("rb") as lines:
        pages = (orjson.loads(line) for line in lines)
        return _ran(job, measured, ((page["keyword"], page["total"], page["results"]) for page in pages))


def _ran(job: Job, measured: Measured, pages: Iterable[tuple[str, int, list[dict[str, Any]]]]) -> Ran:
    """Count and fingerprint the answers; pages may come in any order."""
    count = fingerprint = 0
    for keyword, total, results in pages:
        if len(results) != RESULTS_A_PAGE:
            raise Failed(f"a page of {keyword!r} was read as {len(results)} results")
        count += 1
        content = orjson.dumps([keyword, total, [[result[name] for name in FIELDS] for result in results]])
        fingerprint += int.from_bytes(blake2b(content, digest_size=8).digest(), "big")
    if count != job.pages:
        raise Failed(f"{count:,} of {job.pages:,} pages were written")
    return Ran(measured, fingerprint % 2**64)
