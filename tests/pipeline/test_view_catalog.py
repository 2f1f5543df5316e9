"""The views in Glue: made once, changed when they changed, and nobody else's touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from pipeline.errors import CatalogUnavailable, Misuse
from pipeline.view_catalog import MARK, create_views, drop_views
from stages.athena_views import stored_view
from stages.views import VIEWS

DATABASE = "serpline"
NAMES = [view.name for view in VIEWS]


class Counted:
    """A Glue client that keeps the names of the calls, and fails or is overtaken where told."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: list[str] = []
        self.before: dict[str, Any] = {}
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.calls.append(name)
            if name in self.before:
                self.before.pop(name)(arguments)
            return getattr(self._client, name)(**arguments)

        return call


@pytest.fixture
def glue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("glue", region_name="eu-central-1")
        client.create_database(DatabaseInput={"Name": DATABASE})
        yield Counted(client)


def _table(glue: Counted, name: str) -> Any:
    return glue._client.get_table(DatabaseName=DATABASE, Name=name)["Table"]


def test_views_are_made_as_athena_keeps_them(glue: Counted):
    """Each a virtual view with Athena's text, Hive's columns and our mark."""
    assert create_views(glue, DATABASE) == NAMES
    for view in VIEWS:
        stored, table = stored_view(view, DATABASE), _table(glue, view.name)
        assert table["TableType"] == "VIRTUAL_VIEW"
        assert table["ViewOriginalText"] == stored.original_text
        assert table["ViewExpandedText"] == "/* Presto View */"
        assert table["Parameters"] == {"presto_view": "true", "comment": "Presto View", MARK: view.name}
        assert table["Description"] == f"A row is {view.row}."
        assert table["PartitionKeys"] == []
        descriptor = table["StorageDescriptor"]
        assert [(one["Name"], one["Type"]) for one in descriptor["Columns"]] == [
            (one.name, one.type) for one in stored.columns
        ]
        assert (descriptor["Location"], descriptor["SerdeInfo"]) == ("", {})


def test_views_that_are_as_they_should_be_are_left_alone(glue: Counted):
    create_views(glue, DATABASE)
    glue.calls.clear()
    assert create_views(glue, DATABASE) == []
    assert set(glue.calls) == {"get_table"}


@pytest.mark.parametrize(
    "change",
    [
        {"ViewOriginalText": "/* Presto View: e30= */"},
        {"Description": "of before"},
        {"StorageDescriptor": {"Columns": [{"Name": "run_id", "Type": "int"}]}},
        {"Parameters": {MARK: "runs"}},
        {"TableType": "EXTERNAL_TABLE"},
    ],
)
def test_a_view_that_differs_is_updated_and_no_other(glue: Counted, change: dict[str, Any]):
    create_views(glue, DATABASE)
    kept = ("Name", "TableType", "ViewOriginalText", "ViewExpandedText", "Parameters", "StorageDescriptor")
    table = _table(glue, "runs")
    older = {name: table[name] for name in (*kept, "Description")} | change
    glue._client.update_table(DatabaseName=DATABASE, TableInput=older)
    glue.calls.clear()
    assert create_views(glue, DATABASE) == ["runs"]
    assert glue.calls.count("update_table") == 1
    assert create_views(glue, DATABASE) == []


def test_parameters_that_others_added_are_no_difference(glue: Counted):
    create_views(glue, DATABASE)
    table = _table(glue, "runs")
    kept = ("Name", "Description", "TableType", "ViewOriginalText", "ViewExpandedText", "StorageDescriptor")
    added = {name: table[name] for name in kept} | {"Parameters": {**table["Parameters"], "owner": "bi"}}
    glue._client.update_table(DatabaseName=DATABASE, TableInput=added)
    assert create_views(glue, DATABASE) == []


def test_what_someone_else_made_is_refused_before_anything_is_changed(glue: Counted):
    """A table of the user's under a view's name stays, and no view is half made."""
    glue._client.create_table(DatabaseName=DATABASE, TableInput={"Name": "runs", "Description": "mine"})
    with pytest.raises(Misuse, match=r"serpline\.runs in Glue was not made by serpline: rename or drop it"):
        create_views(glue, DATABASE)
    assert _table(glue, "runs")["Description"] == "mine"
    assert [one["Name"] for one in glue._client.get_tables(DatabaseName=DATABASE)["TableList"]] == ["runs"]


def test_two_deploys_at_once_make_the_same_views(glue: Counted):
    """Who is overtaken between looking and making finds the view as it should be."""
    glue.before["create_table"] = lambda asked: glue._client.create_table(**asked)
    assert create_views(glue, DATABASE) == NAMES[1:]
    assert create_views(glue, DATABASE) == []


def test_a_foreign_table_that_comes_in_between_is_refused_too(glue: Counted):
    glue.before["create_table"] = lambda asked: glue._client.create_table(
        DatabaseName=DATABASE, TableInput={"Name": asked["TableInput"]["Name"]}
    )
    with pytest.raises(Misuse, match="was not made by serpline"):
        create_views(glue, DATABASE)


def test_dropping_removes_our_views_and_nothing_else(glue: Counted):
    create_views(glue, DATABASE)
    glue._client.delete_table(DatabaseName=DATABASE, Name="drift")
    for name in ("drift", "pages"):
        glue._client.create_table(DatabaseName=DATABASE, TableInput={"Name": name})
    assert drop_views(glue, DATABASE) == [name for name in reversed(NAMES) if name != "drift"]
    left = {one["Name"] for one in glue._client.get_tables(DatabaseName=DATABASE)["TableList"]}
    assert left == {"drift", "pages"}
    assert drop_views(glue, DATABASE) == []


def test_a_database_that_is_not_there_is_told(glue: Counted):
    with pytest.raises(Misuse, match="no database other in Glue: run `terraform apply` first"):
        create_views(glue, "other")


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "GetTable"),
        EndpointConnectionError(endpoint_url="https://glue.example"),
    ],
)
def test_glue_that_does_not_answer_is_worth_another_try(glue: Counted, error: Exception):
    def fail(_asked: dict[str, Any]) -> None:
        raise error

    glue.before["get_table"] = fail
    with pytest.raises(CatalogUnavailable, match="Glue database serpline"):
        create_views(glue, DATABASE)
    assert create_views(glue, DATABASE) == NAMES
