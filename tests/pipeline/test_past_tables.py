"""Tables of past versions are read, appended to and compacted by today's code; newer ones are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import keys
from pipeline.catalog import Committed, Tables
from pipeline.cli.main import main
from pipeline.compaction import Compactor
from pipeline.errors import CatalogUnavailable, Permanent, PipelineError
from pipeline.iceberg import NAMESPACE, open_folder_catalog
from pipeline.metrics import MemoryMetrics
from pipeline.practice.server import PracticeEngine
from pipeline.query import Lake
from pipeline.queues.memory import MemoryBroker
from pipeline.steps.aggregate import AggregateStep
from pipeline.storage.folder import FolderStorage
from pipeline.table_schema import VERSION_PROPERTY
from pipeline.worker import settle
from stages.records import Page, Result, Task
from stages.shard import ShardRow
from stages.staged import Staged, decode_staged, encode_staged
from stages.tables import SCHEMA_VERSION
from stages.views import VIEWS
from tests.pipeline.kit import LOG, make_batch
from tests.pipeline.past_tables.make import HERE, NAMES, make, of_length, past_specs, restored
from tests.pipeline.test_bad_staged import pointer
from tests.pipeline.test_local import own_sources


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lake(name: str, tmp_path: Path) -> Path:
    return restored(name, tmp_path)


def ask(lake: Path, sql: str) -> list[tuple[Any, ...]]:
    with Lake(lake) as opened:
        return [row for chunk in opened.ask(sql).chunks() for row in chunk]


def staged(number: int, **fields: object) -> Staged:
    found = (Result(1, "organic", "t", "https://new.example/1", "new.example", "new words"),)
    page = Page(Task(f"new {number}"), 1, "ok", "", 200, 1.8e9, 1.8e9, 9, 9, "http://engine/", 7, found)
    batch = make_batch([], batch_no=number, **{"run_id": "new", **fields})
    return decode_staged(encode_staged(batch, [page], lane="a"))


def commit(lake: Path) -> Committed:
    """Today's code at work on the table: a new batch, and one that the past committed already."""
    tables = Tables(open_folder_catalog(lake))
    tables.create()
    tables.append_shards([ShardRow("new", "2026-11-23", "n.txt", 0, 1, 1, 1, tasks=1, batches=1, refused="")])
    past = staged(1, run_id="past", run_date="2026-10-01")
    return tables.append_pages([staged(1), past])


def state(lake: Path, table: str = "pages") -> str:
    return str(open_folder_catalog(lake).load_table((NAMESPACE, table)).metadata_location)


OLD_RESULTS = [
    (f"past {batch}{letter}", rank, host)
    for batch in (1, 2)
    for letter in "ab"
    for rank, host in ((1, "docs.example"), (2, "other.example"))
]


def test_a_past_table_is_read_as_it_is(name: str, lake: Path):
    """Every view answers, what the past did not store is null, and reading changes no table."""
    before = state(lake), state(lake, "shards")
    assert ask(lake, "SELECT keyword, rank, domain FROM results ORDER BY 1, 2") == OLD_RESULTS
    assert ask(lake, "SELECT status, count(*) FROM pages GROUP BY 1 ORDER BY 1") == [("failed", 2), ("ok", 4)]
    snippet = None if name == "without_snippet" else "of past 1a"
    assert ask(lake, "SELECT DISTINCT snippet FROM results WHERE keyword = 'past 1a'") == [(snippet,)]
    lane = None if name == "without_lane" else "b"
    assert ask(lake, "SELECT DISTINCT lane, raw_key FROM pages") == [(lane, None)]
    batches = None if name == "without_snippet" else 2
    assert ask(lake, "SELECT tasks, batches, refused FROM shards") == [(6, batches, None)]
    assert ask(lake, "SELECT run_id, tasks, pages, missing FROM runs") == [("past", 6, 6, 0)]
    assert (state(lake), state(lake, "shards")) == before


@pytest.mark.parametrize("view", [view.name for view in VIEWS])
def test_every_view_stands_on_past_tables(lake: Path, view: str):
    ask(lake, f"SELECT * FROM {view}")  # noqa: S608  # our own names


def test_a_past_table_is_appended_to(name: str, lake: Path):
    """Today's columns are added; old rows stay as they were, and what was committed then is there once."""
    old = ask(lake, "SELECT keyword, rank, domain, snippet FROM results ORDER BY 1, 2")
    assert commit(lake) == Committed(1, 1, 1)
    assert ask(lake, "SELECT count(*) FROM pages") == [(7,)]
    assert ask(lake, "SELECT keyword, rank, domain, snippet FROM results ORDER BY 1, 2") == [
        ("new 1", 1, "new.example", "new words"),
        *old,
    ]
    lanes = ask(lake, "SELECT lane, count(*) FROM pages GROUP BY 1 ORDER BY 2")
    assert lanes == [("a", 1), (None if name == "without_lane" else "b", 6)]
    tables = Tables(open_folder_catalog(lake))
    assert tables.ledger("new", "2026-11-23").complete
    for table in ("pages", "shards"):
        found = open_folder_catalog(lake).load_table((NAMESPACE, table))
        assert found.properties[VERSION_PROPERTY] == str(SCHEMA_VERSION)


def test_the_ledger_of_a_past_run_is_read(lake: Path):
    """Counts that were not kept then do not keep `status` and `repair` from reading the rest."""
    tables = Tables(open_folder_catalog(lake))
    ledger = tables.ledger("past", "2026-10-01")
    assert ledger.complete
    assert [(row.file, row.tasks) for row in ledger.shards] == [("past.txt", 6)]
    assert ledger.pages == {"ok": 4, "failed": 2}


def test_a_past_table_is_compacted(lake: Path):
    """Its files become one of today's columns, and no answer changes, of old rows or new ones."""
    commit(lake)
    tables = Tables(open_folder_catalog(lake))
    for number in (2, 3):
        tables.append_pages([staged(number, run_date="2026-10-01")])
    sql = "SELECT keyword, lane, raw_key, results FROM pages ORDER BY keyword"
    before, shards = ask(lake, sql), ask(lake, "SELECT * FROM shards ORDER BY run_id")
    assert len(before) == 9
    done = list(Compactor(open_folder_catalog(lake), lake, sleep=lambda _: None).compact())
    assert [one.left_out for one in done] == [""] * len(done)
    [partition] = done[0].partitions
    assert (partition.files, partition.files_after) == (4, 1)
    assert ask(lake, sql) == before
    assert ask(lake, "SELECT * FROM shards ORDER BY run_id") == shards


def test_an_untouched_past_table_is_compacted(lake: Path):
    """The first that today's code does to a lake may be compaction."""
    before = ask(lake, "SELECT * FROM results ORDER BY keyword, rank")
    done = list(Compactor(open_folder_catalog(lake), lake, sleep=lambda _: None).compact())
    assert done[0].left_out == ""
    assert done[0].partitions[0].files_after == 1
    assert ask(lake, "SELECT * FROM results ORDER BY keyword, rank") == before


def test_the_stored_tables_are_what_the_script_makes(name: str, lake: Path, tmp_path: Path):
    """Made anew they have the same columns and rows; and they are small."""
    made = of_length(tmp_path / "anew")
    make(name, made)
    for spec in past_specs(name):
        read = [open_folder_catalog(one).load_table((NAMESPACE, spec.name)) for one in (lake, made)]
        assert read[0].schema().as_struct() == read[1].schema().as_struct()
        rows = [Counter(map(repr, table.scan().to_arrow().to_pylist())) for table in read]
        assert rows[0] == rows[1]
        assert rows[0].total() == {"pages": 6, "shards": 1}[spec.name]
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file()) < 100_000


# A table that is newer than this code.


def newer(lake: Path, table: str = "pages") -> Path:
    tables = Tables(open_folder_catalog(lake))
    tables.create()
    tables.append_pages([staged(5)])
    found = open_folder_catalog(lake).load_table((NAMESPACE, table))
    with found.transaction() as change:
        change.set_properties({VERSION_PROPERTY: "99"})
    return lake


@pytest.mark.parametrize("table", ["pages", "shards"])
@pytest.mark.parametrize("command", ["query", "explain", "compact", "run"])
def test_a_newer_table_is_refused_by_every_command(
    tmp_path: Path,
    engine: PracticeEngine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    command: str,
):
    """What its columns mean this code cannot know: one sentence, and nothing is read, written or asked."""
    lake = newer(tmp_path / "lake", table)
    before = state(lake), state(lake, "shards")
    (tmp_path / "k.txt").write_text("json dumps")
    monkeypatch.setenv("SERPLINE_SOURCES", str(own_sources(tmp_path / "sources", engine.base_url)))
    words = {
        "query": ["query", "SELECT count(*) FROM pages"],
        "explain": ["query", "--explain", "SELECT count(*) FROM pages"],
        "compact": ["compact"],
        "run": ["run", str(tmp_path / "k.txt"), "--source", "practice_page"],
    }[command]
    assert main([*words, "--lake", str(lake)]) != 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"serpline: table {table} has version 99")
    assert "use a newer serpline" in said
    assert (state(lake), state(lake, "shards")) == before
    assert not engine.arrivals


@pytest.mark.parametrize("since", ["its start", "its first commit"])
def test_messages_for_a_newer_table_wait_for_newer_code(tmp_path: Path, since: str):
    """In the middle of a deploy an older function keeps its messages in their queue: none is buried."""
    catalog = open_folder_catalog(tmp_path)
    storage, queue = FolderStorage(tmp_path), MemoryBroker(clock=lambda: 0.0).queue("results")
    Tables(catalog).create()
    step = AggregateStep(storage, Tables(catalog), MemoryMetrics(), LOG)
    page = Page(Task("k"), 1, "ok", "", 200, 1.8e9, 1.8e9, 9, 9, "u", None)
    first, second = (keys.staged(make_batch([], batch_no=number)) for number in (3, 4))
    for key, number in ((first, 3), (second, 4)):
        storage.put(key, encode_staged(make_batch([], batch_no=number), [page], lane=""))
    if since == "its first commit":
        assert step([pointer(first)]) == {}
    newer(tmp_path)
    queue.send([pointer(second)])
    with pytest.raises(CatalogUnavailable, match="newer serpline"):
        settle(queue, queue.receive(5, wait=0), step, LOG)
    assert queue.depth().waiting == 1
    assert queue.dead().depth().waiting == 0


def refused(act: Callable[[], object]) -> PipelineError:
    with pytest.raises(Permanent, match="version 99") as raised:
        act()
    return raised.value


def test_a_newer_table_is_refused_by_what_the_functions_call(tmp_path: Path):
    newer(tmp_path)
    refused(lambda: Tables(open_folder_catalog(tmp_path)).create())
    refused(lambda: Tables(open_folder_catalog(tmp_path)).ledger("new", "2026-11-23"))
    refused(lambda: list(Compactor(open_folder_catalog(tmp_path), tmp_path).compact()))
    refused(lambda: Lake(tmp_path))
