"""Function conduct: lanes, closed sources and the backlog, every minute."""

from __future__ import annotations

from pipeline.functions.conduct import open_conduct
from pipeline.functions.runtime import action_function

handler = action_function(open_conduct)
