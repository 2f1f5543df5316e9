"""Readers beside writers: while files are replaced and added, each answer is of a whole snapshot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog import Tables
from pipeline.cli.main import main
from pipeline.errors import PipelineError
from pipeline.iceberg import open_folder_catalog
from pipeline.query import Lake
from stages.records import Page, Result, Task
from stages.shard import ShardRow
from stages.staged import Staged, decode_staged, encode_staged
from tests.pipeline.compaction_kit import compacted, compactor, filled, live
from tests.pipeline.kit import make_batch

QUESTIONS = 200
PAGES = 3
"""Pages of a batch, of which two have results."""

SUMS = (
    "SELECT count(*), count(DISTINCT task_id), sum(cardinality(results)), max(batch_no), sum(batch_no) "
    "FROM pages"
)
RANKED = "SELECT count(*), count(DISTINCT keyword), max(rank), sum(rank) FROM results"
LATEST = "SELECT count(*), min(rank), max(rank) FROM latest_ranks"
VOICE = "SELECT count(*), round(sum(share), 6) FROM share_of_voice"


def batch(number: int) -> Staged:
    """Three pages: two with two results each, one that failed. All of it follows from the number."""
    found = tuple(
        Result(rank, "organic", "t", f"https://{host}/{number}", host, "s")
        for rank, host in enumerate(("a.example", "b.example"), 1)
    )
    pages = [
        Page(
            Task(f"{number}:{at}"),
            1,
            "ok" if at else "failed",
            "",
            200,
            1.8e9,
            1.8e9,
            5,
            9,
            "u",
            None,
            found if at else (),
        )
        for at in range(PAGES)
    ]
    return decode_staged(
        encode_staged(make_batch([], batch_no=number, run_id=f"run {number}"), pages, lane="")
    )


def append_run(tables: Tables, number: int) -> None:
    """A batch as a run of its own: it is in the ledger before its pages, and complete with them."""
    one = batch(number)
    ledger = ShardRow(one.header.batch.run_id, one.header.batch.run_date, "keywords.txt", 0, 1, tasks=PAGES)
    tables.append_shards([ledger])
    tables.append_pages([one])


def right(batches: int) -> dict[str, list[tuple[Any, ...]]]:
    """The answers of a table that holds the batches 0 to n-1, worked out by hand."""
    n = batches
    return {
        SUMS: [(3 * n, 3 * n, 4 * n, n - 1, 3 * n * (n - 1) // 2)],
        RANKED: [(4 * n, 2 * n, 2, 6 * n)],
        # A domain's best rank for each keyword that was answered.
        LATEST: [(4 * n, 1, 2)],
        VOICE: [(2 * n, float(n))],
    }


def ask(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return [row for chunk in lake.ask(sql).chunks() for row in chunk]


class Commits:
    """How many batches are certainly in the table, and how many may be."""

    def __init__(self, done: int) -> None:
        self.begun = self.done = done


@contextmanager
def beside(*works: Callable[[], object]) -> Iterator[None]:
    """Each again and again in a thread of its own; what one raises fails the test."""
    stop = threading.Event()
    raised: list[BaseException] = []

    def again(work: Callable[[], object]) -> None:
        try:
            # A pause: it is the reader that is measured here, not who gets the processor.
            while not stop.wait(0.05):
                work()
        except BaseException as error:  # noqa: BLE001  # raised below, in the test's own thread
            raised.append(error)

    threads = [threading.Thread(target=again, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if raised:
        raise raised[0]


def started(lake: Path, batches: int) -> Tables:
    tables = Tables(open_folder_catalog(lake))
    tables.create()
    for number in range(batches):
        append_run(tables, number)
    return tables


@pytest.mark.timeout(240)
def test_each_of_200_questions_is_answered_of_a_whole_snapshot(tmp_path: Path):
    """Compaction and appends run all the while: an answer holds every batch up to one and none of the next.

    That one is no older than the moment of the question, and no younger than that of its answer. Every
    opening of the lake asks its table and its views twice, which then agree with each other.
    """
    started(tmp_path, 12)
    tables = Tables(open_folder_catalog(tmp_path))
    commits = Commits(12)
    rounds: list[int] = []

    def append() -> None:
        commits.begun += 1
        append_run(tables, commits.done)
        commits.done += 1

    def compact() -> None:
        # Two files at a time: a commit for each.
        done = compacted(tmp_path, given=compactor(tmp_path, target=25_000))
        rounds.append(sum(one.files - one.files_after for one in done))

    asked = 0
    seen: set[int] = set()
    with beside(append, compact):
        while asked < QUESTIONS:
            least = commits.done
            with Lake(tmp_path) as lake:
                most = commits.begun
                questions = (SUMS, RANKED, LATEST, VOICE)
                answers = {sql: ask(lake, sql) for sql in questions}
                again = {sql: ask(lake, sql) for sql in questions}
            found = answers[SUMS][0][3] + 1
            assert least <= found <= most
            assert answers == again == right(found)
            seen.add(found)
            asked += 2 * len(questions)
    assert len(seen) > 5, "too few commits between the questions to show anything"
    assert sum(rounds) > 5, "too few files were replaced to show anything"
    with Lake(tmp_path) as lake:
        assert ask(lake, SUMS) == right(commits.done)[SUMS]


def test_an_open_lake_gives_the_same_answers_while_its_files_are_replaced(tmp_path: Path):
    """A session that began before compaction ends on what it began with; the next one sees the same rows."""
    started(tmp_path, 8)
    before = live(tmp_path)
    with Lake(tmp_path) as lake:
        answer = lake.ask("SELECT keyword FROM pages")
        first = next(answer.chunks())
        compacted(tmp_path)
        assert not live(tmp_path) & before
        for sql, wanted in right(8).items():
            assert ask(lake, sql) == wanted
        assert len(first) + sum(map(len, answer.chunks())) == 24
    with Lake(tmp_path) as lake:
        assert {sql: ask(lake, sql) for sql in right(8)} == right(8)


def test_the_command_answers_beside_compaction(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """`serpline query` itself, its views included."""
    started(tmp_path, 6)
    words = ["query", "--lake", str(tmp_path), "--format", "csv"]
    with beside(lambda: compacted(tmp_path, given=compactor(tmp_path, target=25_000))):
        for _ in range(5):
            assert main([*words, SUMS]) == 0
            assert capsys.readouterr().out.splitlines()[1] == "18,18,24,5,45"
            assert main([*words, RANKED]) == 0
            assert capsys.readouterr().out.splitlines()[1] == "24,12,2,36"


def test_a_reader_whose_files_expired_is_told_and_never_answered_wrongly(tmp_path: Path):
    """Without any safe age files go under a reader: it is told to ask again, and what it gets is right."""
    filled(tmp_path, 1)
    tables = Tables(open_folder_catalog(tmp_path))
    commits = Commits(1)
    told: list[str] = []
    answered = 0

    def churn() -> None:
        commits.begun += 1
        tables.append_pages([batch(100 + commits.done)])
        commits.done += 1
        compacted(tmp_path, keep=-1)

    with beside(churn):
        while answered < 20:
            least = commits.done
            try:
                with Lake(tmp_path) as lake:
                    [(rows,)] = ask(lake, "SELECT count(*) FROM pages")
            except PipelineError as error:
                told.append(str(error))
                continue
            assert rows % PAGES == 0
            assert least <= rows // PAGES <= commits.begun
            answered += 1
    assert all("again" in sentence for sentence in told)
