"""The views in Glue: made, kept up to date, and dropped, each only where it is ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.aws_errors import translated
from pipeline.errors import CatalogUnavailable, Misuse
from stages.athena_views import StoredView, stored_view
from stages.measure_views import MEASURE_VIEWS
from stages.views import VIEWS, View

MARK = "serpline.view"
"""The parameter that says that a view is ours; its value is the view's name."""


def create_views(client: Any, database: str, views: Sequence[View] = VIEWS) -> list[str]:
    """Make or update the views of a Glue database; gives the names of those that were not as they should be.

    A view that is as it should be is left alone, and one that someone else made is never touched:
    ``Misuse`` then says so before anything is changed. Raises ``CatalogUnavailable`` where Glue does
    not answer.
    """
    wanted = [stored_view(view, database) for view in views]
    with _glue(client, database):
        found = {view.name: _found(client, database, view.name) for view in wanted}
        for name, table in found.items():
            _refuse_foreign(table, database, name)
        return [view.name for view in wanted if _put(client, database, view, found[view.name])]


def drop_views(client: Any, database: str) -> list[str]:
    """Remove our views from a Glue database, and nothing else; gives the names of those that were there."""
    dropped = []
    # Those that others build on go last.
    for view in reversed((*VIEWS, *MEASURE_VIEWS)):
        with _glue(client, database):
            table = _found(client, database, view.name)
            if table is not None and _is_ours(table):
                with suppress(client.exceptions.EntityNotFoundException):
                    client.delete_table(DatabaseName=database, Name=view.name)
                dropped.append(view.name)
    return dropped


def _put(client: Any, database: str, view: StoredView, found: Mapping[str, Any] | None) -> bool:
    wanted = _table_input(view)
    if found is None:
        try:
            client.create_table(DatabaseName=database, TableInput=wanted)
        except client.exceptions.AlreadyExistsException:
            # Someone made it in this moment: perhaps another deploy of the same.
            found = _found(client, database, view.name)
            _refuse_foreign(found, database, view.name)
        else:
            return True
    if found is not None and _is_as_wanted(found, wanted):
        return False
    client.update_table(DatabaseName=database, TableInput=wanted)
    return True


def _table_input(view: StoredView) -> dict[str, Any]:
    return {
        "Name": view.name,
        "Description": view.description,
        "TableType": view.table_type,
        "ViewOriginalText": view.original_text,
        "ViewExpandedText": view.expanded_text,
        # Athena knows its views by both; `comment` is no place for words of our own.
        "Parameters": {"presto_view": "true", "comment": "Presto View", MARK: view.name},
        # As Athena writes them: it stumbles over a table in which these are missing.
        "PartitionKeys": [],
        "StorageDescriptor": {
            "Columns": [{"Name": column.name, "Type": column.type} for column in view.columns],
            "Location": "",
            "SerdeInfo": {},
        },
    }


def _found(client: Any, database: str, name: str) -> Mapping[str, Any] | None:
    try:
        table: Mapping[str, Any] = client.get_table(DatabaseName=database, Name=name)["Table"]
    except client.exceptions.EntityNotFoundException:
        return None
    return table


def _is_ours(table: Mapping[str, Any]) -> bool:
    return MARK in table.get("Parameters", {})


def _refuse_foreign(table: Mapping[str, Any] | None, database: str, name: str) -> None:
    if table is not None and not _is_ours(table):
        raise Misuse(f"{database}.{name} in Glue was not made by serpline: rename or drop it, then try again")


def _is_as_wanted(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    texts = ("Description", "TableType", "ViewOriginalText", "ViewExpandedText")
    columns = found.get("StorageDescriptor", {}).get("Columns", [])
    return (
        all(found.get(name) == wanted[name] for name in texts)
        # Glue and Lake Formation may have added parameters of their own.
        and wanted["Parameters"].items() <= found.get("Parameters", {}).items()
        and [{"Name": one["Name"], "Type": one["Type"]} for one in columns]
        == wanted["StorageDescriptor"]["Columns"]
    )


@contextmanager
def _glue(client: Any, database: str) -> Iterator[None]:
    with translated(CatalogUnavailable, f"Glue database {database}"):
        try:
            yield
        except client.exceptions.EntityNotFoundException as error:
            # Of a table that is not there _found has said so: what is missing is the database.
            raise Misuse(f"no database {database} in Glue: run `terraform apply` first") from error
