"""The small lake with what an answer must tell apart: two runs of one day, devices, languages, sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.records import Page, Result
from stages.staged import Staged
from tests.pipeline.query.lakes import THIRD, organic, page, shard_row, small, staged, write

AFTERNOON, DAY = "run-0", "2026-07-01"
"""That run's id comes before the morning's in every order but that of time."""

_AD = Result(1, "ad", "Buy", "https://ads.example/", "ads.example", "")


def asked(folder: Path) -> Path:
    """``small`` with its last run complete, and a second run of the first day."""
    last = [
        staged(THIRD, 3, page("gloves", organic(1, "b.example", "gloves"), at="2026-07-03T10:00:04")),
        staged(
            THIRD,
            4,
            page(
                "gloves",
                organic(1, "z.example", "gloves"),
                organic(2, "b.example", "g"),
                at="2026-07-03T10:00:05",
            ),
            source="beta",
        ),
    ]
    afternoon = [
        _afternoon(
            1, page("red shoes", organic(1, "b.example", "1"), organic(2, "a.example", "3"), at=_at(0))
        ),
        _afternoon(
            2,
            page("red shoes", organic(1, "a.example", "m"), _AD, organic(4, "b.example", "m"), at=_at(1)),
            page("sandals", organic(1, "b.example", "s"), _AD, organic(3, "a.example", "s"), at=_at(2)),
            device="mobile",
        ),
        _afternoon(
            3,
            page("red shoes", organic(1, "a.example", "e"), at=_at(3)),
            page("zapatos", organic(1, "b.example", "z"), organic(2, "a.example", "z"), at=_at(4)),
            locale="es-ES",
        ),
    ]
    ledger = [shard_row(AFTERNOON, run_date=DAY, tasks=5, lines=5, kept=5)]
    return write(small(folder), [*last, *afternoon], ledger)


def _at(second: int) -> str:
    return f"{DAY}T15:00:0{second}"


def _afternoon(batch_no: int, *pages: Page, **market: Any) -> Staged:
    return staged(AFTERNOON, batch_no, *pages, run_date=DAY, **market)
