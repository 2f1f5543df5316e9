"""The report as a file: one page that opens anywhere and loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import Misuse
from stages.measure import Reading
from stages.measure_report import render_report


def write_report(rows: Sequence[Reading], other: Sequence[Reading], path: Path) -> None:
    """Write the page of these readings, compared with those of another experiment where there are any.

    Raises ``Misuse`` where the file cannot be written.
    """
    page = render_report(rows, other)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Misuse(f"the report cannot be written to {path}: {error.strerror or error}") from error
