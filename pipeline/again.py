"""Tasks of a run as a keyword file of their own, to be asked again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from pipeline.catalog import Tables
from stages.run import Run

COLUMNS = ("keyword", "source", "locale", "device", "page")

_encoder = msgspec.json.Encoder()


def write_tasks(tables: Tables, run: Run, statuses: Sequence[str], sink: BinaryIO) -> int:
    """Write the run's tasks that ended so, a row of JSON each with exactly its page; gives how many."""
    rows = 0
    for values in tables.pages(run.run_id, run.run_date, COLUMNS, status=statuses):
        sink.write(_encoder.encode(dict(zip(COLUMNS, values, strict=True))) + b"\n")
        rows += 1
    return rows
