"""Compaction beside writers, readers, deletes and its own kind: nothing in between changes an answer."""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path

import pytest

from pipeline.catalog import Tables
from pipeline.compaction import Compactor
from pipeline.errors import CatalogUnavailable, CommitConflict
from pipeline.iceberg import open_folder_catalog
from pipeline.replacement import Manifests, Replacement
from tests.pipeline.compaction_kit import (
    asked,
    compacted,
    compactor,
    delete,
    filled,
    hooked,
    live,
    on_disk,
    pages,
    rows,
)
from tests.pipeline.kit import each_once
from tests.pipeline.test_catalog import commit_many, open_tables, staged


def test_appends_between_look_and_commit_are_rebased_over(tmp_path: Path):
    """Whoever appends meanwhile wins, three times; then the replacement lands on top of it all."""
    filled(tmp_path)
    tables = open_tables(tmp_path)
    hooks = [lambda n=n: tables.append_pages([staged(10 + n)]) for n in range(3)]
    [done] = compacted(tmp_path, given=hooked(tmp_path, *hooks))
    assert done.given_up == 0
    assert set(each_once(tmp_path).values()) == {1}
    assert len(each_once(tmp_path)) == 21
    assert len(live(tmp_path)) == 4


def test_of_two_compactions_one_gives_up_and_leaves_nothing(tmp_path: Path):
    """The files it named are gone: its own file is removed, rows are there once."""
    filled(tmp_path)
    before = rows(tmp_path)
    [done] = compacted(tmp_path, given=hooked(tmp_path, lambda: compacted(tmp_path) and None))
    assert done.given_up == 1
    assert rows(tmp_path) == before
    assert len(live(tmp_path)) == 1
    assert len(on_disk(tmp_path)) == 4 + 1


def test_a_delete_between_look_and_commit_is_not_undone(tmp_path: Path):
    """A named file has a delete that was not applied when it was read: the work is given up."""
    filled(tmp_path)
    [done] = compacted(tmp_path, given=hooked(tmp_path, lambda: delete(tmp_path, [0])))
    assert done.given_up == 1
    assert rows(tmp_path).total() == 11
    compacted(tmp_path)
    assert rows(tmp_path).total() == 11
    assert len(live(tmp_path)) == 1


def lost() -> None:
    raise CatalogUnavailable("the reply was lost")


def test_a_lost_reply_is_resolved_by_looking(tmp_path: Path):
    """Whether it landed or not: the next look tells, and the rows are there once."""
    filled(tmp_path)
    before = rows(tmp_path)
    [done] = compacted(tmp_path, given=hooked(tmp_path, lost, lost, after=True))
    assert (done.files_after, done.given_up) == (1, 0)
    filled(tmp_path, 8)
    before = rows(tmp_path)
    [done] = compacted(tmp_path, given=hooked(tmp_path, lost, lost))
    assert (done.files_after, done.given_up) == (1, 0)
    assert rows(tmp_path) == before


def test_a_landed_commit_is_known_though_its_file_was_replaced_since(tmp_path: Path):
    """Its new file is no longer live, and a snapshot names it all the same: it is not removed."""
    filled(tmp_path)

    def landed_then_replaced() -> None:
        filled(tmp_path, 8)
        compacted(tmp_path)
        lost()

    [done] = compacted(tmp_path, given=hooked(tmp_path, landed_then_replaced, after=True))
    assert done.given_up == 0
    table = pages(tmp_path)
    for snapshot in table.snapshots():
        table.scan(snapshot_id=snapshot.snapshot_id).to_arrow()
    assert set(each_once(tmp_path).values()) == {1}


def test_files_of_an_unknown_outcome_stay(tmp_path: Path):
    """A commit without an answer may land late: what it names is left for the removal by age."""
    filled(tmp_path)

    def gone_without_an_answer() -> None:
        compacted(tmp_path)
        lost()

    [done] = compacted(tmp_path, given=hooked(tmp_path, gone_without_an_answer))
    assert done.given_up == 1
    assert len(on_disk(tmp_path)) == 4 + 2


def test_commits_that_always_lose_are_given_up(tmp_path: Path):
    """The files that were written for nothing are removed; the table is as it was."""
    filled(tmp_path)
    before = rows(tmp_path)

    def always_lost() -> None:
        raise CommitConflict("somebody was first")

    [done] = compacted(tmp_path, given=hooked(tmp_path, *[always_lost] * 40))
    assert (done.given_up, done.files_after) == (1, 4)
    assert rows(tmp_path) == before
    assert len(on_disk(tmp_path)) == 4


def test_it_lands_between_the_appends_of_other_processes(tmp_path: Path):
    """Two processes commit 48 batches while compaction runs again and again: nothing lost or doubled."""
    open_tables(tmp_path)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=commit_many, args=(str(tmp_path), seed, 48)) for seed in range(2)]
    for process in processes:
        process.start()
    landed = 0
    one = Compactor(open_folder_catalog(tmp_path), tmp_path)
    while any(process.is_alive() for process in processes):
        landed += sum(done.given_up == 0 for done in compacted(tmp_path, given=one))
    assert [process.exitcode for process in processes] == [0, 0]
    assert landed >= 2
    assert each_once(tmp_path) == {(f"{number}:{at}", 1): 1 for number in range(48) for at in range(3)}
    assert len(live(tmp_path)) < 16


def test_it_makes_progress_under_steady_appends(tmp_path: Path):
    """Four appends a second, on a table of a hundred manifests."""
    filled(tmp_path, 1)
    table = pages(tmp_path)
    [task] = table.scan().plan_files()
    stop, appended = threading.Event(), []

    def append() -> None:
        tables = Tables(open_folder_catalog(tmp_path))
        number = 100
        while not stop.wait(0.25):
            appended.append(tables.append_pages([staged(number := number + 1)]).pages)

    for number in range(1, 60):
        open_tables(tmp_path).append_pages([staged(number, keywords=1)])
    writer = threading.Thread(target=append)
    writer.start()
    try:
        time.sleep(1)
        done = compacted(tmp_path, given=Compactor(open_folder_catalog(tmp_path), tmp_path))
    finally:
        stop.set()
        writer.join()
    assert task.file.file_path not in live(tmp_path)
    assert done[0].given_up == 0
    assert set(each_once(tmp_path).values()) == {1}
    assert len(each_once(tmp_path)) == 3 + 59 + sum(appended)


def test_readers_see_the_same_answer_while_it_runs(tmp_path: Path):
    """Fifty queries through DuckDB and as many scans, while files are replaced under them."""
    filled(tmp_path, 30)
    before, answer = rows(tmp_path), asked(tmp_path)
    stop = threading.Event()
    rounds: list[int] = []

    def work() -> None:
        # Two files at a time: a commit for each.
        while not stop.is_set():
            done = compacted(tmp_path, given=compactor(tmp_path, target=25_000))
            rounds.append(sum(one.files for one in done))

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(50):
            assert asked(tmp_path) == answer
        assert rows(tmp_path) == before
    finally:
        stop.set()
        worker.join()
    assert rounds[0] == 30


def test_a_replacement_of_a_file_that_is_gone_fails(tmp_path: Path):
    """The last line of defence is in the commit itself."""
    filled(tmp_path, 2)
    stale = pages(tmp_path)
    files = list(Manifests().live_files(stale).data.values())
    compacted(tmp_path)
    with pytest.raises(Exception, match="Missing required files"):
        Replacement(pages(tmp_path), Manifests()).run(files, [])
