"""Stage fetch: batches of one source, from their queue."""

from __future__ import annotations

from pipeline.functions.fetch import open_fetch
from pipeline.functions.runtime import queue_function

handler = queue_function(open_fetch)
