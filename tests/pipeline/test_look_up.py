"""The look before a commit: it finds the batches that were asked for, and takes no others for them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pyiceberg.expressions import And, BooleanExpression, Or

from pipeline.catalog import Committed
from pipeline.iceberg import count_rows, equal
from stages.tables import PAGES
from tests.pipeline.compaction_kit import compacted, pages
from tests.pipeline.test_catalog import open_tables, staged

DAY, SOURCE = "2026-11-23", "practice_api"


def test_a_look_holds_no_more_than_was_asked_for(tmp_path: Path):
    """Two late batches from the ends of a run of millions: what lies between them is not held in memory."""
    tables = open_tables(tmp_path)
    tables.append_pages([staged(number, 1) for number in range(40)])
    first, last, missing = (staged(number).header.id for number in (0, 39, 99))
    found = tables._batches_there(pages(tmp_path), (DAY, SOURCE, 0), [first, last, missing])
    assert found == {first, last}


def test_a_batch_of_another_run_in_the_same_file_is_not_taken_for_ours(tmp_path: Path):
    """Runs of one day share a partition, and compaction puts them into one file with the same numbers."""
    tables = open_tables(tmp_path)
    for run_id in ("a", "c"):
        tables.append_pages([staged(number, run_id=run_id) for number in (1, 2)])
    compacted(tmp_path)
    assert tables.append_pages([staged(1, run_id="b")]) == Committed(3, 3, 0)
    assert tables.append_pages([staged(2, run_id="a"), staged(3, run_id="a")]) == Committed(3, 3, 3)
    assert tables.ledger("c", DAY).pages == {"ok": 6}


def test_each_file_is_asked_what_its_own_partition_leaves_open(tmp_path: Path):
    """One question that means other rows in one partition than in another."""
    tables = open_tables(tmp_path)
    for part in (0, 1):
        tables.append_pages([staged(number, 2, part=part) for number in (1, 2)])

    def both(part: int, batch_no: int) -> BooleanExpression:
        return And(equal("part", part), equal("batch_no", batch_no))

    counted = count_rows(pages(tmp_path), Or(both(0, 1), both(1, 2)), ("part", "batch_no"))
    assert PAGES.partition[-1] == "part"
    assert counted == Counter({(0, 1): 2, (1, 2): 2})
