"""Questions in Athena's SQL to a lake on this machine, answered by DuckDB.

``Lake`` opens a folder and answers; ``formats`` writes an answer as a table, CSV, JSON or Parquet.
Nothing but the command line imports this: the steps need neither DuckDB nor sqlglot.
"""

from __future__ import annotations

from pipeline.query.engine import Answer, Column, Lake
from pipeline.query.formats import write_csv, write_json, write_parquet
from pipeline.query.terminal import write_table

__all__ = ["Answer", "Column", "Lake", "write_csv", "write_json", "write_parquet", "write_table"]
