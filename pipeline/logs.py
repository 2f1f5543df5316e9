"""Logs: one JSON object a line, with what is known of the work bound to every line."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any, TextIO

import orjson
import structlog


def configure_logs(where: Path | None, *, verbose: bool = False) -> TextIO:
    """Send log lines to a file, or to standard error where there is none; gives the open stream."""
    if where is None:
        stream: TextIO = sys.stderr
    else:
        where.parent.mkdir(parents=True, exist_ok=True)
        stream = where.open("a", encoding="utf-8")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    return stream


def get_log(**bound: Any) -> Any:
    """A logger with these fields on every line (``stage``, ``source``, ``run_id``, ``batch_id``)."""
    return structlog.get_logger().bind(**bound)


def _dumps(event: dict[str, Any], **_options: Any) -> str:
    return orjson.dumps(event, default=str).decode()
