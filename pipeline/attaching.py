"""Tables outlive their catalog: written down before it goes, found again by the next one.

The bucket holds everything but one thing: which state of a table is the last. While a catalog names
the table, the catalog says it; else the record that was written when the catalog went.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Literal

import msgspec
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError, ValidationError
from pyiceberg.serializers import FromInputFile

from pipeline import keys
from pipeline.catalog import Tables
from pipeline.errors import CommitConflict, Permanent, Unreadable
from pipeline.iceberg import (
    files_of,
    find_table,
    make_namespace,
    metadata_files,
    new_table,
    open_table,
    raced,
    translated,
)
from pipeline.storage.protocol import Storage
from stages.tables import EVERY_TABLE, TABLES, TableSpec

Made = Literal["kept", "attached", "created"]

TRIES = 10


class LastState(msgspec.Struct, frozen=True):
    """The record of a table that no catalog names."""

    table: str
    metadata: str


def create_tables(catalog: Catalog, storage: Storage, specs: Iterable[TableSpec] = TABLES) -> dict[str, Made]:
    """Each of these tables with every column of this code; says of each what was done for it.

    A table that the catalog lacks and the storage holds is attached: in the state that was written
    down, else in the newest that is there. Raises ``Permanent`` where that is not one state only, and
    for a table that is newer than this code.
    """
    with translated():
        raced(lambda: make_namespace(catalog))
    return {spec.name: attach(catalog, spec, storage) for spec in specs}


def ready_tables(catalog: Catalog, storage: Storage) -> Tables:
    """The tables of a lake on this machine, made or attached where its catalog lacks them."""
    create_tables(catalog, storage)
    return Tables(catalog)


def attach(catalog: Catalog, spec: TableSpec, storage: Storage) -> Made:
    """One table of ``create_tables``."""
    made: Made = "kept"
    with translated():
        if find_table(catalog, spec) is None:
            state = _last_state(catalog, spec, storage)
            if state:
                made = "attached"
                with suppress(TableAlreadyExistsError):
                    catalog.register_table((catalog.name, spec.name), state)
            else:
                made = "created"
                new_table(catalog, spec)
        open_table(catalog, spec)
    # From here on the catalog says it; an old record would take a later life of the table back.
    key = keys.last_metadata(spec.name)
    if storage.find(key) is not None:
        storage.delete(key)
    return made


def write_down_tables(catalog: Catalog, storage: Storage) -> dict[str, str]:
    """Write down the last state of each table and take it out of the catalog; every file stays.

    Gives the states by table. Run again it goes on where it ended. Raises ``CommitConflict`` where
    others go on committing.
    """
    return {spec.name: state for spec in EVERY_TABLE if (state := _write_down(catalog, spec, storage))}


def _write_down(catalog: Catalog, spec: TableSpec, storage: Storage) -> str:
    for _ in range(TRIES):
        with translated():
            table = find_table(catalog, spec)
            if table is None:
                return ""
            record = LastState(spec.name, table.metadata_location)
            storage.put(keys.last_metadata(spec.name), msgspec.json.encode(record))
            again = find_table(catalog, spec)
            if again is None or again.metadata_location == record.metadata:
                with suppress(NoSuchTableError):
                    catalog.drop_table((catalog.name, spec.name))
                return record.metadata
    raise CommitConflict(f"others go on committing to table {spec.name}: stop them and run it again")


def _last_state(catalog: Catalog, spec: TableSpec, storage: Storage) -> str:
    """The metadata file to attach; empty where there is none."""
    key = keys.last_metadata(spec.name)
    body = storage.find(key)
    if body is not None:
        try:
            record = msgspec.json.decode(body, type=LastState)
        except msgspec.DecodeError as error:
            raise Unreadable(f"{key} is no record of a table's last state: {error}", key=key) from error
        if _is_whole(catalog, record.metadata):
            return record.metadata
    left = metadata_files(catalog, spec)
    if len(left) > 1:
        raise Permanent(
            f"table {spec.name} was left in {len(left)} states, and nothing says which is the last: "
            f"{', '.join(left)}. Write the right one into {key} as "
            f'{{"table": "{spec.name}", "metadata": "<its address>"}}'
        )
    if left and not _is_whole(catalog, left[0]):
        raise Permanent(f"table {spec.name} was left in a state that is not whole: {left[0]}")
    return left[0] if left else ""


def _is_whole(catalog: Catalog, location: str) -> bool:
    """Whether the state and what its newest snapshot names first are there."""
    io = files_of(catalog, location)
    try:
        metadata = FromInputFile.table_metadata(io.new_input(location))
        snapshot = metadata.current_snapshot()
        if snapshot is not None:
            snapshot.manifests(io)
    except (FileNotFoundError, ValidationError):
        return False
    return True
