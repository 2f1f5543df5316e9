"""Where something is measured there is a table more, with its views; switched off again, its rows stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.attaching import create_tables, write_down_tables
from pipeline.functions.compact import asked_for
from pipeline.glue import SureGlueCatalog
from pipeline.iceberg import open_table
from pipeline.storage.folder import FolderStorage
from pipeline.view_catalog import create_views, drop_views
from stages.measure_views import MEASURE_VIEWS
from stages.measurements import measurement_table
from stages.tables import EVERY_TABLE, MEASUREMENTS, TABLES
from stages.views import VIEWS
from tests.pipeline.aws import Lossy, glue, sure
from tests.pipeline.test_view_catalog import DATABASE, Counted
from tests.pipeline.test_view_catalog import glue as counted
from tests.stages import measured

__all__ = ["counted", "glue", "sure"]

EVERY_NAME = [one.name for one in EVERY_TABLE]


def test_a_lake_that_does_not_measure_has_no_table_for_it(sure: SureGlueCatalog, tmp_path: Path):
    storage = FolderStorage(tmp_path)
    assert set(create_tables(sure, storage)) == {one.name for one in TABLES}
    assert not sure.table_exists((sure.name, MEASUREMENTS.name))
    assert MEASUREMENTS.name not in write_down_tables(sure, storage)


def test_readings_outlive_the_catalog_like_every_row(sure: SureGlueCatalog, glue: Lossy, tmp_path: Path):
    """Destroyed, applied without measuring, and with it again: they are there."""
    storage = FolderStorage(tmp_path)
    assert create_tables(sure, storage, EVERY_TABLE) == dict.fromkeys(EVERY_NAME, "created")
    open_table(sure, MEASUREMENTS).append(measurement_table(measured.LIFETIME))
    assert list(write_down_tables(sure, storage)) == EVERY_NAME
    assert glue.tables == {}
    assert MEASUREMENTS.name not in create_tables(sure, storage)
    assert create_tables(sure, storage, EVERY_TABLE)[MEASUREMENTS.name] == "attached"
    found = open_table(sure, MEASUREMENTS).scan().to_arrow()
    assert sorted(found["probe"].to_pylist()) == sorted(row.probe for row in measured.LIFETIME)


def test_its_views_are_made_where_they_are_asked_for_and_always_dropped(counted: Counted):
    names = [view.name for view in MEASURE_VIEWS]
    assert not set(names) & set(create_views(counted, DATABASE))
    assert create_views(counted, DATABASE, (*VIEWS, *MEASURE_VIEWS)) == names
    # Without them again nothing is dropped: whoever asks for old readings still finds them.
    assert create_views(counted, DATABASE) == []
    assert drop_views(counted, DATABASE) == [view.name for view in reversed((*VIEWS, *MEASURE_VIEWS))]


@pytest.mark.parametrize(
    ("told", "measured_too"), [({}, False), ({"measure": False}, False), ({"measure": True}, True)]
)
def test_compact_makes_what_terraform_asks_for(told: dict[str, Any], measured_too: bool):  # noqa: FBT001
    """``measure`` beside the package in the event is the switch; without it all is as it was."""
    specs, views = asked_for({"action": "tables", "package": "hash", **told})
    assert specs == (EVERY_TABLE if measured_too else TABLES)
    assert views == ((*VIEWS, *MEASURE_VIEWS) if measured_too else VIEWS)
