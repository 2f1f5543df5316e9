"""Tables outlive their catalog and grow with the code: the same for every catalog, and so in folders here."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from pipeline import iceberg, keys, table_schema
from pipeline.attaching import create_tables, write_down_tables
from pipeline.catalog import Committed, Tables
from pipeline.errors import CatalogUnavailable, Permanent
from pipeline.glue import SureGlueCatalog
from pipeline.iceberg import open_folder_catalog, open_table
from pipeline.storage.folder import FolderStorage
from stages.tables import PAGES, SCHEMA_VERSION, TableSpec
from tests.pipeline.aws import Lossy, batches, each_once, glue, pages_of, quick, sure
from tests.pipeline.test_catalog import staged

__all__ = ["glue", "sure"]

NAMES = ("pages", "shards", "closings")
LATER = SCHEMA_VERSION + 1


def now_at(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """Go on as a serpline of this version would."""
    monkeypatch.setattr(iceberg, "SCHEMA_VERSION", version)
    monkeypatch.setattr(table_schema, "SCHEMA_VERSION", version)


def test_tables_outlive_their_catalog(sure: SureGlueCatalog, glue: Lossy, tmp_path: Path):
    """Written down and taken out, the files stay; the next catalog holds the same rows and goes on."""
    storage = FolderStorage(tmp_path)
    assert create_tables(sure, storage) == dict.fromkeys(NAMES, "created")
    quick(sure).append_pages([staged(1)])
    states = write_down_tables(sure, storage)
    assert states["pages"].rpartition("/")[2].startswith("00001-")
    assert glue.tables == {}
    assert write_down_tables(sure, storage) == {}
    with pytest.raises(CatalogUnavailable, match="attach"):
        quick(sure).append_pages([staged(2)])
    # What was written in vain, as a killed commit leaves it, is not taken for the last state.
    last = Path(states["pages"].removeprefix("file://"))
    (last.parent / f"00002-{uuid4()}.metadata.json").write_bytes(b"{")
    assert create_tables(sure, storage) == dict.fromkeys(NAMES, "attached")
    assert create_tables(sure, storage) == dict.fromkeys(NAMES, "kept")
    assert storage.find(keys.last_metadata("pages")) is None
    assert quick(sure).append_pages([staged(1), staged(2)]) == Committed(3, 3, 3)
    assert each_once(sure) == batches(1, 2)


def test_without_a_record_the_newest_state_is_taken_and_two_are_refused(sure: SureGlueCatalog, glue: Lossy):
    storage = FolderStorage(Path(sure.properties["warehouse"].removeprefix("file://")))
    create_tables(sure, storage)
    for number in range(12):
        quick(sure).append_pages([staged(number)])
    first = Path(pages_of(sure).metadata_location.removeprefix("file://"))
    glue.tables.clear()
    assert create_tables(sure, storage)["pages"] == "attached"
    assert each_once(sure) == batches(*range(12))
    glue.tables.clear()
    second = first.with_name(f"00012-{uuid4()}.metadata.json")
    second.write_bytes(first.read_bytes())
    with pytest.raises(Permanent, match="2 states") as raised:
        create_tables(sure, storage)
    assert first.name in str(raised.value)
    assert second.name in str(raised.value)
    record = f'{{"table": "pages", "metadata": "file://{first}"}}'
    storage.put(keys.last_metadata("pages"), record.encode())
    assert create_tables(sure, storage)["pages"] == "attached"


def test_a_state_that_is_not_whole_is_refused(sure: SureGlueCatalog, glue: Lossy, tmp_path: Path):
    """A record of a file that is gone is no record; nor is a state whose list of manifests is gone."""
    storage = FolderStorage(tmp_path)
    create_tables(sure, storage)
    quick(sure).append_pages([staged(1)])
    glue.tables.clear()
    storage.put(keys.last_metadata("pages"), b'{"table": "pages", "metadata": "file:///nowhere/at/all.json"}')
    assert create_tables(sure, storage)["pages"] == "attached"
    glue.tables.clear()
    torn = tmp_path / f"tables/pages/metadata/00002-{uuid4()}.metadata.json"
    torn.write_bytes(b"{")
    with pytest.raises(Permanent, match="not whole"):
        create_tables(sure, storage)
    torn.unlink()
    for path in (tmp_path / "tables/pages/metadata").glob("snap-*.avro"):
        path.unlink()
    with pytest.raises(Permanent, match="not whole"):
        create_tables(sure, storage)


def test_a_commit_while_the_tables_are_written_down_is_in_the_record(
    sure: SureGlueCatalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    storage = FolderStorage(tmp_path)
    create_tables(sure, storage)
    put, waiting = storage.put, [staged(1)]

    def put_late(key: str, body: bytes) -> None:
        put(key, body)
        if waiting:
            quick(sure).append_pages([waiting.pop()])

    monkeypatch.setattr(storage, "put", put_late)
    write_down_tables(sure, storage)
    create_tables(sure, storage)
    assert each_once(sure) == batches(1)


def grown(spec: TableSpec) -> TableSpec:
    """The table as a later serpline has it: a column more, and a field more in each result."""
    added = pa.field("extra", pa.string(), metadata={"PARQUET:field_id": "33"})
    results = spec.schema.field("results")
    element = results.type.value_field
    inner = pa.field("depth", pa.int32(), metadata={"PARQUET:field_id": "32"})
    wider = pa.list_(element.with_type(pa.struct([*element.type, inner])))
    at = spec.schema.get_field_index("results")
    return TableSpec(spec.name, spec.schema.set(at, results.with_type(wider)).append(added), spec.partition)


@pytest.mark.parametrize("older", [True, False])
def test_a_column_of_a_later_serpline_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, older: bool
):
    """An older table and a new one come out alike, with our numbers; old rows stay, newer code is refused."""
    catalog = open_folder_catalog(tmp_path)
    iceberg.make_namespace(catalog)
    if older:
        tables = Tables(catalog)
        tables.create()
        tables.append_pages([staged(1)])
        with pages_of(catalog).update_schema() as change:
            change.add_column("mine_dropped", pages_of(catalog).schema().find_field("keyword").field_type)
        with pages_of(catalog).update_schema() as change:
            change.delete_column("mine_dropped")
    spec = grown(PAGES)
    now_at(monkeypatch, LATER)
    if older:
        # A column of another had the number 32, and files may hold its values.
        with pytest.raises(Permanent, match="32"):
            open_table(catalog, spec)
        catalog.drop_table((catalog.name, "pages"))
        for path in (tmp_path / "tables").rglob("pages/metadata/*"):
            path.unlink()
        now_at(monkeypatch, SCHEMA_VERSION)
        Tables(catalog).create()
        Tables(catalog).append_pages([staged(1)])
        now_at(monkeypatch, LATER)
    table = open_table(catalog, spec)
    assert iceberg.knows_all_columns(table, spec)
    assert table.metadata.last_column_id == 33
    assert open_table(catalog, spec).metadata_location == table.metadata_location
    assert [field.source_id for field in table.spec().fields] == [6, 7, 3]
    assert pages_of(catalog).scan().to_arrow().num_rows == (3 if older else 0)
    for schema in pages_of(catalog).metadata.schemas:
        for number in schema.field_ids:
            assert schema.find_column_name(number) == table.schema().find_column_name(number)
    now_at(monkeypatch, SCHEMA_VERSION)
    with pytest.raises(Permanent, match=f"version {LATER}"):
        open_table(catalog, PAGES)


def test_two_that_migrate_at_once_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Another was first: the second look finds the table as it should be."""
    catalog, spec = open_folder_catalog(tmp_path), grown(PAGES)
    Tables(catalog).create()
    now_at(monkeypatch, LATER)
    migrate, first = iceberg.migrate, [True]

    def raced(table: Any, spec: TableSpec, version: int) -> None:
        if first.pop() if first else False:
            migrate(pages_of(catalog), spec, version)
        migrate(table, spec, version)

    monkeypatch.setattr(iceberg, "migrate", raced)
    assert iceberg.knows_all_columns(open_table(catalog, spec), spec)
