"""Stage shard: keyword files and parts of runs, from their queue."""

from __future__ import annotations

from pipeline.functions.runtime import queue_function
from pipeline.functions.shard import open_shard

handler = queue_function(open_shard)
