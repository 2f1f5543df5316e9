"""Function compact: tables, compaction and the ledger, by ``action``."""

from __future__ import annotations

from pipeline.functions.compact import open_compact
from pipeline.functions.runtime import action_function

handler = action_function(open_compact)
