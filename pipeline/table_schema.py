"""A table's columns in its catalog: under the numbers that our files carry, and grown as the code grows."""

from __future__ import annotations

from collections.abc import Iterable

from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.table import Table
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AssertCurrentSchemaId,
    AssertLastAssignedFieldId,
    SetCurrentSchemaUpdate,
    SetPropertiesUpdate,
    TableRequirement,
    TableUpdate,
)
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import IcebergType, ListType, NestedField, StructType

from pipeline.errors import Permanent
from stages.tables import SCHEMA_VERSION, TableSpec

VERSION_PROPERTY = "serpline.schema-version"


def create_table(catalog: Catalog, spec: TableSpec, properties: dict[str, str]) -> None:
    """Make the table. Raises what the library raises, ``TableAlreadyExistsError`` where another was first."""
    name = (catalog.name, spec.name)
    whole = pyarrow_to_schema(spec.schema)
    # The library numbers columns anew, level by level: the columns that come out as they went in are
    # what it is given, and the others are added with their own numbers in the same commit.
    first = _numbered_alike(whole)
    partition = _partition_spec(first, spec)
    if len(first.fields) == len(whole.fields):
        catalog.create_table(name, first, partition_spec=partition, properties=properties)
        return
    with catalog.create_table_transaction(
        name, first, partition_spec=partition, properties=properties
    ) as change:
        change._apply(_new_schema(whole.fields, 1))  # noqa: SLF001  # its own columns get numbers of its own


def version_of(table: Table, spec: TableSpec) -> int:
    """The version of a table's columns. Raises ``Permanent`` for one that is newer than this code."""
    version = int(table.properties.get(VERSION_PROPERTY, "1"))
    if version > SCHEMA_VERSION:
        raise Permanent(
            f"table {spec.name} has version {version}, this code knows {SCHEMA_VERSION}: use a newer serpline"
        )
    return version


def readable_columns(table: Table, spec: TableSpec) -> tuple[NestedField, ...]:
    """The columns that a question finds: the table's own, and in an older table those that it lacks.

    Raises ``Permanent`` for a newer table, and where a column of an older one is in the way.
    """
    theirs = table.schema().as_struct()
    if version_of(table, spec) == SCHEMA_VERSION:
        return theirs.fields
    taken = {number for schema in table.metadata.schemas for number in schema.field_ids}
    return _merged(theirs, pyarrow_to_schema(spec.schema).as_struct(), taken, spec.name).fields


def migrate(table: Table, spec: TableSpec, version: int) -> None:
    """Add the columns that an older table lacks, under the numbers that our files carry.

    What others added stays. Raises ``Permanent`` where a column of the table is in the way, and
    ``CommitFailedException`` where another commit came first.
    """
    metadata = table.metadata
    ours = pyarrow_to_schema(spec.schema).as_struct()
    taken = {number for schema in metadata.schemas for number in schema.field_ids}
    merged = _merged(table.schema().as_struct(), ours, taken, spec.name)
    updates: tuple[TableUpdate, ...] = (SetPropertiesUpdate(updates={VERSION_PROPERTY: str(version)}),)
    if merged != table.schema().as_struct():
        updates = (*_new_schema(merged.fields, 1 + max(one.schema_id for one in metadata.schemas)), *updates)
    requirements: tuple[TableRequirement, ...] = (
        AssertCurrentSchemaId.model_validate(
            {"type": "assert-current-schema-id", "current-schema-id": metadata.current_schema_id}
        ),
        AssertLastAssignedFieldId.model_validate(
            {"type": "assert-last-assigned-field-id", "last-assigned-field-id": metadata.last_column_id}
        ),
    )
    with table.transaction() as change:
        change._apply(updates, requirements)  # noqa: SLF001  # its own columns get numbers of its own


def _new_schema(fields: Iterable[NestedField], number: int) -> tuple[TableUpdate, ...]:
    added = AddSchemaUpdate.model_validate(
        {"action": "add-schema", "schema": Schema(*fields, schema_id=number)}
    )
    return (added, SetCurrentSchemaUpdate.model_validate({"action": "set-current-schema", "schema-id": -1}))


def _numbered_alike(whole: Schema) -> Schema:
    """The leading columns that the library's own numbering leaves as they are."""
    for count in range(len(whole.fields), 0, -1):
        leading = Schema(*whole.fields[:count])
        if assign_fresh_schema_ids(leading).as_struct() == leading.as_struct():
            return leading
    raise Permanent("the first column of a table has the number 1")


def _partition_spec(schema: Schema, spec: TableSpec) -> PartitionSpec:
    return PartitionSpec(
        *(
            PartitionField(schema.find_field(name).field_id, 1000 + at, IdentityTransform(), name)
            for at, name in enumerate(spec.partition)
        )
    )


def _merged(theirs: StructType, ours: StructType, taken: set[int], where: str) -> StructType:
    """Their fields, grown where ours are, and then ours that they lack."""
    by_number = {field.field_id: field for field in ours.fields}
    fields = []
    for field in theirs.fields:
        wanted = by_number.pop(field.field_id, None)
        if wanted is None:
            fields.append(field)
            continue
        if wanted.name != field.name:
            raise _in_the_way(where, field, wanted)
        kind = _grown(field, wanted, taken, f"{where}.{field.name}")
        fields.append(field.model_copy(update={"field_type": kind}))
    names = {field.name: field for field in fields}
    for field in by_number.values():
        if field.name in names or field.field_id in taken:
            raise _in_the_way(where, names.get(field.name, field), field)
        fields.append(field)
    return StructType(*fields)


def _grown(theirs: NestedField, ours: NestedField, taken: set[int], where: str) -> IcebergType:
    kind, wanted = theirs.field_type, ours.field_type
    if isinstance(kind, StructType) and isinstance(wanted, StructType):
        return _merged(kind, wanted, taken, where)
    if isinstance(kind, ListType) and isinstance(wanted, ListType):
        element = _grown(kind.element_field, wanted.element_field, taken, where)
        return ListType(element_id=kind.element_id, element=element, element_required=kind.element_required)
    if kind != wanted:
        raise _in_the_way(where, theirs, ours)
    return kind


def _in_the_way(where: str, theirs: NestedField, ours: NestedField) -> Permanent:
    return Permanent(
        f"{where} has or had a column {theirs.name} ({theirs.field_id}, {theirs.field_type}) in the place "
        f"of {ours.name} ({ours.field_id}, {ours.field_type}), which this serpline adds: use another lake"
    )
