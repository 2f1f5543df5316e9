"""Stage aggregate: pointers to staged objects, from their queue."""

from __future__ import annotations

from pipeline.functions.aggregate import open_aggregate
from pipeline.functions.runtime import queue_function

handler = queue_function(open_aggregate)
