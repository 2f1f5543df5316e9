"""The catalog of a lake on this machine: SQLite, through SQLAlchemy, which functions on AWS do without."""

from __future__ import annotations

from pathlib import Path

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy import URL

from pipeline.errors import Misuse
from pipeline.iceberg import NAMESPACE, raced, translated


def open_folder_catalog(lake: Path) -> Catalog:
    """The catalog of a lake on this machine: SQLite beside the tables' folder.

    Raises ``Misuse`` for a path that cannot be written as a location of a table.
    """
    if {"#", "?"} & set(str(lake)):
        raise Misuse(f"the lake's path {lake} has a # or ?, which the tables' locations cannot hold")
    with translated():
        lake.mkdir(parents=True, exist_ok=True)
        location = URL.create("sqlite", database=str(lake / "catalog.sqlite3")).render_as_string()
        # Not as a percent-encoded URI: the library takes the path literally.
        warehouse = f"file://{lake / 'tables'}"
        return raced(lambda: SqlCatalog(NAMESPACE, uri=location, warehouse=warehouse))
