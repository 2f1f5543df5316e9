"""Tables of two past versions, and how they were made: ``python -m tests.pipeline.past_tables.make``.

The columns are written down here as they were and owe nothing to the code of today:

``without_lane``
    ``pages`` before it knew the raw answer's key and the lane, ``shards`` before a file could be refused.
``without_snippet``
    ``pages`` whose results had no snippet, ``shards`` before batches were counted.

Both say version 0. Iceberg names files by absolute addresses. So that these can be anywhere, manifests are
stored uncompressed and the folder's path is replaced in them by one of the same length (``PLACE``);
``restored`` copies a table to a folder whose path is as long, and puts that path in.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.table import Table

from pipeline.iceberg import NAMESPACE, describe_data_file, make_namespace, open_folder_catalog
from pipeline.table_schema import VERSION_PROPERTY, create_table
from stages.tables import TableSpec

HERE = Path(__file__).parent
LENGTH = 200
PLACE = "/serpline-past-tables".ljust(LENGTH, "_")
NAMES = ("without_lane", "without_snippet")

_PROPERTIES = {
    "format-version": "2",
    "commit.retry.num-retries": "0",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "write.avro.compression-codec": "null",
    VERSION_PROPERTY: "0",
}

_RUN_DATE = date(2026, 10, 1)
_MOMENT = datetime(2026, 10, 1, 8, 30)  # noqa: DTZ001  # times are UTC without a zone

_Fields = list[tuple[int, str, pa.DataType]]

_RESULT: _Fields = [
    (26, "rank", pa.int32()),
    (27, "kind", pa.string()),
    (28, "title", pa.string()),
    (29, "url", pa.string()),
    (30, "domain", pa.string()),
]
_SNIPPET: _Fields = [(31, "snippet", pa.string())]


def _pages(result: _Fields) -> _Fields:
    element = pa.field("element", pa.struct(_numbered(result)), metadata={"PARQUET:field_id": "25"})
    return [
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
        (22, "results", pa.list_(element)),
    ]


_LATER: _Fields = [(23, "raw_key", pa.string()), (24, "lane", pa.string())]

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
]
_BATCHES: _Fields = [(11, "batches", pa.int64())]


def _numbered(fields: _Fields) -> list[pa.Field[Any]]:
    return [pa.field(name, kind, metadata={"PARQUET:field_id": str(number)}) for number, name, kind in fields]


def past_specs(name: str) -> tuple[TableSpec, TableSpec]:
    """The tables ``pages`` and ``shards`` as that version had them."""
    if name == "without_lane":
        pages, shards = _pages(_RESULT + _SNIPPET), _SHARDS + _BATCHES
    else:
        pages, shards = _pages(_RESULT) + _LATER, _SHARDS
    return (
        TableSpec("pages", pa.schema(_numbered(pages)), ("run_date", "source", "part")),
        TableSpec("shards", pa.schema(_numbered(shards)), ("run_date",)),
    )


def page_rows(batch_no: int) -> list[dict[str, Any]]:
    """Three pages of one batch: two answers and a failure. What a version lacks is left out later."""
    keywords = [f"past {batch_no}{letter}" for letter in "abc"]
    return [
        {
            "run_id": "past",
            "task_id": f"{batch_no}{keyword[-1]}",
            "part": 0,
            "batch_no": batch_no,
            "cut": 0,
            "run_date": _RUN_DATE,
            "source": "practice_api",
            "locale": "en-US",
            "device": "desktop",
            "keyword": keyword,
            "page": 1,
            "status": "failed" if keyword.endswith("c") else "ok",
            "reason": "http_404" if keyword.endswith("c") else "",
            "http_status": 404 if keyword.endswith("c") else 200,
            "attempts": 1,
            "requested_at": _MOMENT,
            "fetched_at": _MOMENT,
            "latency_ms": 120,
            "bytes": 9_000,
            "url": "http://127.0.0.1:8650/api/search",
            "total_results": None,
            "results": []
            if keyword.endswith("c")
            else [
                {
                    "rank": rank,
                    "kind": "organic",
                    "title": f"{keyword} {rank}",
                    "url": f"https://{host}/{rank}",
                    "domain": host,
                    "snippet": f"of {keyword}",
                }
                for rank, host in enumerate(("docs.example", "other.example"), 1)
            ],
            "raw_key": None,
            "lane": "b",
        }
        for keyword in keywords
    ]


def shard_rows() -> list[dict[str, Any]]:
    """The one part of the run: six lines, six tasks."""
    counts = {"lines": 6, "kept": 6, "rejected": 0, "duplicates": 0, "tasks": 6, "batches": 2}
    return [{"run_id": "past", "run_date": _RUN_DATE, "file": "past.txt", "part": 0, "parts": 1, **counts}]


def make(name: str, lake: Path) -> None:
    """Write the tables of a past version into a lake's folder, each in one commit."""
    catalog = open_folder_catalog(lake)
    make_namespace(catalog)
    pages, shards = past_specs(name)
    for spec, files in ((pages, [page_rows(1), page_rows(2)]), (shards, [shard_rows()])):
        create_table(catalog, spec, _PROPERTIES)
        table = catalog.load_table((NAMESPACE, spec.name))
        with table.transaction() as change, change.update_snapshot().fast_append() as append:
            for rows in files:
                append.append_data_file(_written(table, spec, rows))


def _written(table: Table, spec: TableSpec, rows: list[dict[str, Any]]) -> Any:
    values = [PartitionFieldValue(field, rows[0][field.name]) for field in table.spec().fields]
    key = PartitionKey(values, table.spec(), table.schema())
    path = f"{table.location()}/data/{key.to_path()}/{rows[0].get('batch_no', 0)}.parquet"
    output = table.io.new_output(path)
    arrow = pa.Table.from_pylist(rows, schema=spec.schema)
    with output.create() as sink:
        pq.write_table(arrow, sink, compression="zstd", use_dictionary=False, store_schema=False)
    with table.io.new_input(path).open() as source:
        metadata = pq.read_metadata(source)
    return describe_data_file(table, path, len(output), metadata, key.partition)


def of_length(folder: Path) -> Path:
    """A folder below this one whose path is ``LENGTH`` long."""
    missing = LENGTH - len(str(folder)) - 1
    if missing < 1:
        raise ValueError(f"{folder} is too deep: its path may have {LENGTH - 2} characters")
    return folder / ("x" * missing)


def restored(name: str, folder: Path) -> Path:
    """A lake below this folder that holds the tables as they were; gives its path."""
    lake = of_length(folder)
    _copied(HERE / name, lake / "tables", PLACE, str(lake))
    catalog = open_folder_catalog(lake)
    make_namespace(catalog)
    for table in ("pages", "shards"):
        [state] = (lake / "tables" / NAMESPACE / table / "metadata").glob("*.json")
        catalog.register_table((NAMESPACE, table), f"file://{state}")
    return lake


def _copied(source: Path, target: Path, old: str, new: str) -> None:
    """A copy with one path in the place of another of the same length."""
    for path in source.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))


def store(name: str) -> None:
    """Make a version's tables anew and keep what their last states name."""
    with tempfile.TemporaryDirectory() as folder:
        lake = of_length(Path(folder).resolve())
        make(name, lake)
        for table in ("pages", "shards"):
            states = sorted((lake / "tables" / NAMESPACE / table / "metadata").glob("*.json"))
            for state in states[:-1]:
                state.unlink()
        shutil.rmtree(HERE / name, ignore_errors=True)
        _copied(lake / "tables", HERE / name, str(lake), PLACE)


if __name__ == "__main__":
    for one in NAMES:
        store(one)
