"""The commit protocol: every batch in the table exactly once, whoever commits it, whatever came between."""

from __future__ import annotations

import itertools
import multiprocessing
import random
from collections import Counter
from datetime import date
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from pipeline.catalog import Committed, Tables
from pipeline.errors import CatalogUnavailable, CommitConflict, Misuse, Permanent, StorageUnavailable
from pipeline.iceberg import NAMESPACE, open_folder_catalog
from stages.records import Page, Result, Task
from stages.shard import ShardRow
from stages.staged import Staged, decode_staged, encode_staged
from stages.tables import PAGES, ROWS_A_GROUP
from tests.pipeline.kit import each_once, make_batch, table_rows


def staged(batch_no: int, keywords: int = 3, **fields: object) -> Staged:
    pages = [
        Page(
            task=Task(f"{batch_no}:{number}"),
            attempts=1,
            status="ok",
            reason="",
            http_status=200,
            requested_at=1.8e9,
            fetched_at=1.8e9 + 0.123456,
            latency_ms=123,
            bytes=90_000,
            url="http://engine/search",
            total_results=None,
            results=(Result(1, "organic", "Título “1”", "https://a.example/", "a.example", "…"),) * number,
        )
        for number in range(keywords)
    ]
    return decode_staged(encode_staged(make_batch([], batch_no=batch_no, **fields), pages, lane=""))


def open_tables(lake: Path) -> Tables:
    tables = Tables(open_folder_catalog(lake))
    tables.create()
    return tables


def test_a_batch_is_committed_once(tmp_path: Path):
    """The same batch in one call, in a later call and in another process's call is one batch."""
    one, two = staged(1), staged(2)
    assert open_tables(tmp_path).append_pages([one, two, one]) == Committed(6, 6, 3)
    assert open_tables(tmp_path).append_pages([two, one]) == Committed(0, 0, 6)
    assert set(each_once(tmp_path).values()) == {1}


def test_cuts_of_one_batch_are_batches_of_their_own(tmp_path: Path):
    """What cut 0 left undone comes as cut 1 and is not taken for a repetition."""
    tables = open_tables(tmp_path)
    tables.append_pages([staged(1)])
    assert tables.append_pages([staged(1, cut=1), staged(1, run_id="run2"), staged(1, part=1)]).already == 0


@given(st.lists(st.lists(st.integers(0, 12), max_size=8), max_size=6))
@settings(max_examples=15, deadline=None)
def test_any_order_and_repetition_of_deliveries_gives_the_same_table(
    tmp_path_factory: pytest.TempPathFactory, calls: list[list[int]]
):
    """However batches arrive, grouped, repeated and reordered, each is in the table once."""
    lake = tmp_path_factory.mktemp("lake")
    tables = open_tables(lake)
    for call in calls:
        tables.append_pages([staged(number) for number in call])
    wanted = {(f"{number}:{at}", 1): 1 for call in calls for number in call for at in range(3)}
    assert each_once(lake) == wanted


def commit_many(lake: str, seed: int, most: int) -> None:
    """One of several processes: commits every batch, in an order of its own, three at a time."""
    numbers = list(range(most))
    random.Random(seed).shuffle(numbers)
    tables = Tables(open_folder_catalog(Path(lake)))
    for at in range(0, most, 3):
        tables.append_pages([staged(number) for number in numbers[at : at + 3]])


def test_processes_that_commit_the_same_batches_at_once_lose_and_double_nothing(tmp_path: Path):
    """Four processes, the same 24 batches, in four orders: the check and the append share a snapshot."""
    open_tables(tmp_path)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=commit_many, args=(str(tmp_path), seed, 24)) for seed in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert each_once(tmp_path) == {(f"{number}:{at}", 1): 1 for number in range(24) for at in range(3)}


def make_tables(lake: str) -> None:
    """One of several processes that find no lake yet."""
    open_tables(Path(lake))


def test_processes_that_make_a_lake_at_once_share_it(tmp_path: Path):
    """The first commands on a new lake may be two: neither fails because the other was first."""
    context = multiprocessing.get_context("spawn")
    for number in range(4):
        lake = str(tmp_path / str(number))
        processes = [context.Process(target=make_tables, args=(lake,)) for _ in range(5)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * 5


def test_a_lost_race_to_make_the_tables_is_run_again(tmp_path: Path):
    """Another process made them between our look and our write: the second look finds them made."""
    catalog = open_folder_catalog(tmp_path)

    class Raced:
        looks = 0

        def namespace_exists(self, name: str) -> bool:
            self.looks += 1
            return catalog.namespace_exists(name)

        def create_namespace(self, name: str) -> None:
            catalog.create_namespace(name)
            raise IntegrityError("INSERT", None, Exception("UNIQUE constraint failed"))

        def __getattr__(self, name: str):
            return getattr(catalog, name)

    raced = Raced()
    Tables(raced).create()
    assert raced.looks == 2
    assert Tables(catalog).append_pages([staged(1)]).pages == 3


def test_an_unknown_outcome_is_resolved_by_looking(tmp_path: Path):
    """The commit landed but its reply was lost: the next look finds the batch and adds nothing."""
    tables = open_tables(tmp_path)
    append, replies = tables._append, iter([True, False])

    def lost_reply(*arguments: object) -> None:
        append(*arguments)  # type: ignore[arg-type]
        if next(replies):
            raise CommitConflict("the reply was lost")

    tables._append = lost_reply  # type: ignore[method-assign]
    assert tables.append_pages([staged(1)]).already == 3
    assert set(each_once(tmp_path).values()) == {1}


def test_commits_that_always_lose_end_with_a_sentence(tmp_path: Path):
    """Losing again and again is reported as something to retry, with growing pauses in between."""
    pauses: list[float] = []
    tables = Tables(open_folder_catalog(tmp_path), sleep=pauses.append, jitter=lambda: 0.5)
    tables.create()

    def always_lost(*_: object) -> None:
        raise CommitConflict("somebody was first")

    tables._append = always_lost  # type: ignore[method-assign]
    with pytest.raises(CommitConflict, match="in a row"):
        tables.append_pages([staged(1)])
    assert pauses[0] < pauses[3] < pauses[6] <= 2


def test_writers_whose_tries_take_long_leave_each_other_room(tmp_path: Path):
    """Where a look and an append take seconds, sixteen that come again each second would go on losing."""
    pauses: list[float] = []
    moments = itertools.count(0.0, 3.0)  # each look at the clock is three seconds later
    tables = Tables(
        open_folder_catalog(tmp_path), sleep=pauses.append, jitter=lambda: 0.5, clock=lambda: next(moments)
    )
    tables.create()

    def always_lost(*_: object) -> None:
        raise CommitConflict("somebody was first")

    tables._append = always_lost  # type: ignore[method-assign]
    with pytest.raises(CommitConflict):
        tables.append_pages([staged(1)])
    assert pauses[0] < 1
    assert max(pauses) == 24


def test_a_large_commit_is_several_files_of_sorted_rows(tmp_path: Path):
    """Files hold rows sorted by keyword, in row groups made for look-ups, below their partition's path."""
    tables = Tables(open_folder_catalog(tmp_path), results_a_commit=4_000)
    tables.create()
    tables.append_pages([staged(number, keywords=90) for number in range(3)])
    files = sorted((tmp_path / "tables").rglob("pages/data/**/*.parquet"))
    assert len(files) == 3
    for file in files:
        assert "run_date=2026-11-23/source=practice_api/part=0" in file.as_posix()
        read = pq.ParquetFile(file)
        keywords = read.read(["keyword"])["keyword"].to_pylist()
        assert keywords == sorted(keywords)
        assert read.metadata.row_group(0).num_rows <= ROWS_A_GROUP
        assert read.schema_arrow.field("keyword").metadata[b"PARQUET:field_id"] == b"10"


def test_rows_keep_their_values(tmp_path: Path):
    """Times keep their microseconds, unknown totals stay unknown, no results is an empty list."""
    open_tables(tmp_path).append_pages([staged(1, keywords=2)])
    columns = ("keyword", "fetched_at", "total_results", "results", "run_date", "raw_key", "attempts")
    first, second = sorted(table_rows(tmp_path, *columns))
    assert first[1].isoformat() == "2027-01-15T08:00:00.123456"
    assert first[2:] == (None, [], date(2026, 11, 23), None, 1)
    assert second[3][0]["title"] == "Título “1”"


def test_shard_rows_are_committed_once_and_prove_a_run_complete(tmp_path: Path):
    """A run is complete when every part's row is there and pages equal tasks; not before, not beyond."""
    tables = open_tables(tmp_path)
    rows = [ShardRow("run1", "2026-11-23", "k.txt", part, 2, 3, 3, 0, 0, tasks=3) for part in (0, 1)]
    assert tables.append_shards([rows[0]]) == 1
    tables.append_pages([staged(1)])
    assert not tables.ledger("run1", "2026-11-23").complete
    assert tables.append_shards([rows[0], rows[1], rows[1]]) == 1
    assert not tables.ledger("run1", "2026-11-23").complete
    tables.append_pages([staged(1, part=1), staged(1, run_id="other")])
    ledger = tables.ledger("run1", "2026-11-23")
    assert ledger.complete
    assert ledger.pages == {"ok": 6}
    assert ledger.shards == tuple(rows)


def test_a_newer_table_is_refused_by_older_code(tmp_path: Path):
    """Code that does not know a table's columns says so instead of dropping them."""
    open_tables(tmp_path)
    table = open_folder_catalog(tmp_path).load_table((NAMESPACE, "pages"))
    with table.transaction() as change:
        change.set_properties({"serpline.schema-version": "99"})
    with pytest.raises(Permanent, match="version 99"):
        open_tables(tmp_path)


def test_a_catalog_that_is_gone_or_damaged_is_a_sentence(tmp_path: Path):
    """A driver's error never reaches the user as it is."""
    (tmp_path / "catalog.sqlite3").write_bytes(b"this is no database, it is a note" * 40)
    with pytest.raises(CatalogUnavailable):
        open_tables(tmp_path)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path):
    """A lake below a file is refused before anything is asked."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable):
        open_tables(tmp_path / "file" / "lake")


def test_metadata_stays_small_over_many_commits(tmp_path: Path):
    """Old metadata files are removed as new ones are written."""
    tables = open_tables(tmp_path)
    for number in range(30):
        tables.append_pages([staged(number, keywords=1)])
    assert len(list((tmp_path / "tables").rglob("pages/metadata/*.metadata.json"))) <= 22
    assert Counter(each_once(tmp_path).values()) == {1: 30}


def test_the_schema_has_unique_field_ids():
    """A column's number is its identity for ever; two of one number would read each other's values."""
    ids = [field.metadata[b"PARQUET:field_id"] for field in PAGES.schema]
    element = PAGES.schema.field("results").type.value_field
    ids += [element.metadata[b"PARQUET:field_id"], *(f.metadata[b"PARQUET:field_id"] for f in element.type)]
    assert len(ids) == len(set(ids)) == 31
    assert msgspec.json.encode(sorted(map(int, ids))) == msgspec.json.encode(list(range(1, 32)))


@pytest.mark.parametrize("name", ["with space", "ümläut 漢字", "100%25", "a+b&c=d", "quote's"])
def test_a_lake_may_be_called_anything(tmp_path: Path, name: str):
    """Spaces, percent signs and other letters in a folder's name lead to that folder and no other."""
    lake = tmp_path / name
    open_tables(lake).append_pages([staged(1)])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert set(each_once(lake).values()) == {1}


@pytest.mark.parametrize("name", ["a#b", "what?"])
def test_a_lake_that_no_location_can_name_is_refused(tmp_path: Path, name: str):
    """Better a sentence than a second folder beside the one that was meant."""
    with pytest.raises(Misuse, match="path"):
        open_tables(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
