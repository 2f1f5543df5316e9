"""The tables: one schema for every place, and how their Parquet files are laid out.

A column is only ever added, at the end, and may be null in older files. ``SCHEMA_VERSION`` grows
with it; code refuses a table that is newer than itself.
"""

from __future__ import annotations

import msgspec
import pyarrow as pa

SCHEMA_VERSION = 2

ROWS_A_GROUP = 2_000
"""Pages of a row group: about 20,000 results, so that one keyword's look-up reads half a megabyte."""

_Fields = list[tuple[int, str, pa.DataType]]
"""Iceberg's field id, by which readers find a column in a file, with its name and type."""


def _numbered(fields: _Fields) -> list[pa.Field[pa.DataType]]:
    return [pa.field(name, kind, metadata={"PARQUET:field_id": str(number)}) for number, name, kind in fields]


_RESULT: _Fields = [
    (26, "rank", pa.int32()),
    (27, "kind", pa.string()),
    (28, "title", pa.string()),
    (29, "url", pa.string()),
    (30, "domain", pa.string()),
    (31, "snippet", pa.string()),
]
RESULT = pa.struct(_numbered(_RESULT))


class TableSpec(msgspec.Struct, frozen=True):
    """A table: its name, its columns, and the columns that partition it by their value."""

    name: str
    schema: pa.Schema
    partition: tuple[str, ...]


_PAGES: _Fields = [
    (1, "run_id", pa.string()),
    (2, "task_id", pa.string()),
    (3, "part", pa.int32()),
    (4, "batch_no", pa.int32()),
    (5, "cut", pa.int32()),
    (6, "run_date", pa.date32()),
    (7, "source", pa.string()),
    (8, "locale", pa.string()),
    (9, "device", pa.string()),
    (10, "keyword", pa.string()),
    (11, "page", pa.int32()),
    (12, "status", pa.string()),
    (13, "reason", pa.string()),
    (14, "http_status", pa.int32()),
    (15, "attempts", pa.int32()),
    (16, "requested_at", pa.timestamp("us")),
    (17, "fetched_at", pa.timestamp("us")),
    (18, "latency_ms", pa.int32()),
    (19, "bytes", pa.int64()),
    (20, "url", pa.string()),
    (21, "total_results", pa.int64()),
    (22, "results", pa.list_(pa.field("element", RESULT, metadata={"PARQUET:field_id": "25"}))),
    (23, "raw_key", pa.string()),
    (24, "lane", pa.string()),
]

_SHARDS: _Fields = [
    (1, "run_id", pa.string()),
    (2, "run_date", pa.date32()),
    (3, "file", pa.string()),
    (4, "part", pa.int32()),
    (5, "parts", pa.int32()),
    (6, "lines", pa.int64()),
    (7, "kept", pa.int64()),
    (8, "rejected", pa.int64()),
    (9, "duplicates", pa.int64()),
    (10, "tasks", pa.int64()),
    (11, "batches", pa.int64()),
    (12, "refused", pa.string()),
]

_CLOSINGS: _Fields = [
    (1, "id", pa.string()),
    (2, "source", pa.string()),
    (3, "event", pa.string()),
    (4, "event_date", pa.date32()),
    (5, "happened_at", pa.timestamp("us")),
    (6, "closed_since", pa.timestamp("us")),
    (7, "closed_until", pa.timestamp("us")),
    (8, "reason", pa.string()),
    (9, "refusals", pa.int32()),
    (10, "run_id", pa.string()),
    (11, "lane", pa.string()),
]

_MEASUREMENTS: _Fields = [
    (1, "experiment", pa.string()),
    (2, "kind", pa.string()),
    (3, "probe", pa.string()),
    (4, "function", pa.string()),
    (5, "memory_mb", pa.int32()),
    (6, "architecture", pa.string()),
    (7, "level", pa.int32()),
    (8, "slot", pa.int32()),
    (9, "pause_s", pa.float64()),
    (10, "rest_s", pa.float64()),
    (11, "scheduled_at", pa.timestamp("us")),
    (12, "started_at", pa.timestamp("us")),
    (13, "finished_at", pa.timestamp("us")),
    (14, "delay_ms", pa.float64()),
    (15, "init_ms", pa.float64()),
    (16, "cold", pa.bool_()),
    (17, "environment", pa.string()),
    (18, "invocation", pa.int32()),
    (19, "boot_id", pa.string()),
    (20, "address", pa.string()),
    (21, "echo_error", pa.string()),
    (22, "os_release", pa.string()),
    (23, "kernel", pa.string()),
    (24, "cpu_model", pa.string()),
    (25, "cpu_count", pa.int32()),
    (26, "readings", pa.string()),
    (27, "error", pa.string()),
    (28, "receives", pa.int32()),
    (29, "planned", pa.int32()),
    (30, "tree", pa.string()),
    (31, "hold_s", pa.float64()),
    (32, "account_limit", pa.int32()),
    (33, "idle_ms", pa.float64()),
    (34, "fired", pa.int32()),
]

PAGES = TableSpec("pages", pa.schema(_numbered(_PAGES)), partition=("run_date", "source", "part"))
SHARDS = TableSpec("shards", pa.schema(_numbered(_SHARDS)), partition=("run_date",))
CLOSINGS = TableSpec("closings", pa.schema(_numbered(_CLOSINGS)), partition=("event_date",))
MEASUREMENTS = TableSpec("measurements", pa.schema(_numbered(_MEASUREMENTS)), partition=("kind",))
TABLES = (PAGES, SHARDS, CLOSINGS)
"""Those that every lake has."""

LATER = (CLOSINGS,)
"""Those of them that a lake of an older serpline lacks until something runs in it again."""

EVERY_TABLE = (*TABLES, MEASUREMENTS)
"""And the one that a lake has where something was measured."""
