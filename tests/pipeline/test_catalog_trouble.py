"""A catalog that is read-only, gone or slow: a sentence that says what to do, and messages come back."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from pipeline.attaching import create_tables, ready_tables
from pipeline.catalog import Tables
from pipeline.errors import CatalogUnavailable, Misuse, PipelineError, StorageUnavailable
from pipeline.iceberg import NAMESPACE, open_folder_catalog, translated
from pipeline.local import run_here
from pipeline.practice.server import PracticeEngine
from pipeline.query import Lake
from pipeline.worker import Drawing, patient, settle
from tests.pipeline import aws
from tests.pipeline.aws import glue, sure
from tests.pipeline.kit import LOG, table_rows
from tests.pipeline.test_catalog import staged
from tests.pipeline.test_local import frozen, place_for
from tests.pipeline.trouble_kit import Scene, says

__all__ = ["glue", "sure"]


def sqlite_catalog(lake: Path, options: str) -> Catalog:
    """The lake's catalog with options of SQLite's own."""
    uri = f"sqlite:///file:{lake}/catalog.sqlite3?{options}"
    return SqlCatalog(NAMESPACE, uri=uri, warehouse=f"file://{lake}/tables")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, open_folder_catalog(tmp_path))


def test_a_read_only_catalog_keeps_messages_and_answers_questions(tmp_path: Path, scene: Scene):
    """Nothing can be committed, so nothing is acknowledged; what is there can still be asked."""
    catalog = sqlite_catalog(tmp_path, "mode=ro&uri=true")
    says(scene.fails(scene.step(catalog)), "catalog", "written", "this user")
    with Lake(tmp_path) as lake:
        assert list(lake.ask("SELECT count(*) FROM pages").chunks()) == [[(1,)]]
    scene.comes_back(open_folder_catalog(tmp_path))


AS_ANOTHER = """
import os, sys, tempfile
from pathlib import Path
from pipeline.catalog import Tables
from pipeline.errors import PipelineError
from pipeline.iceberg import open_folder_catalog
from pipeline.practice.server import PracticeEngine
from pipeline.query import Lake
from pipeline.storage.folder import FolderStorage
from tests.pipeline.test_catalog import open_tables, staged

def ask(lake):
    with Lake(lake) as opened:
        print(list(opened.ask("SELECT count(*) FROM pages").chunks()))

def change(lake):
    for what in (
        lambda: Tables(open_folder_catalog(lake)).append_pages([staged(7)]),
        lambda: FolderStorage(lake).put("staging/x", b"x"),
        lambda: FolderStorage(lake).put_new("staging/x", b"x"),
    ):
        try:
            what()
        except PipelineError as error:
            print(type(error).__name__, error)

with tempfile.TemporaryDirectory() as warm:
    # Whatever is imported at first use is imported now: the other user may not read it.
    open_tables(Path(warm))
    change(Path(warm))
    ask(Path(warm))
if os.getuid() == 0:
    # For root nothing is forbidden.
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
ask(Path(sys.argv[1]))
change(Path(sys.argv[1]))
"""


@pytest.fixture
def plain_lake() -> Iterator[Path]:
    """A lake that every user may read; root may write where permissions say no, so another user asks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Scene(folder, open_folder_catalog(folder))
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield folder
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_lake_without_the_right_to_write_is_a_sentence(plain_lake: Path):
    """As a user who may read the lake and not write it: questions are answered, the rest says what to do."""
    done = subprocess.run(  # noqa: S603  # this file's own words
        [sys.executable, "-c", AS_ANOTHER, plain_lake],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    warm, answer, append, put, put_new = done.stdout.splitlines()
    assert warm == "[[(3,)]]"
    assert answer == "[[(1,)]]"
    for line in (append, put, put_new):
        assert line.startswith("StorageUnavailable")
        assert "give this user the right" in line


def test_a_catalog_that_was_deleted_under_a_run_takes_no_commit(tmp_path: Path, scene: Scene):
    """What is open still reads it, and would commit to nowhere; the lake's files lead to it again."""
    step = scene.at_work(open_folder_catalog(tmp_path))
    (tmp_path / "catalog.sqlite3").unlink()
    says(scene.fails(step), "catalog", "moved or deleted")
    with pytest.raises(CatalogUnavailable, match="its files are there"):
        Tables(open_folder_catalog(tmp_path)).create()
    catalog = open_folder_catalog(tmp_path)
    ready_tables(catalog, scene.storage)
    scene.comes_back(catalog)


def test_a_run_after_its_catalog_was_deleted_goes_on_with_what_is_there(
    tmp_path: Path, engine: PracticeEngine
):
    """`serpline run` finds the tables by their files: what was committed is there, and there once."""
    place = place_for(tmp_path, engine)
    run = frozen(place, ["json dumps", "open a file"])
    assert run_here(place, run, LOG).ledger.complete
    before = table_rows(place.lake, "task_id", "fetched_at")
    (tmp_path / "lake" / "catalog.sqlite3").unlink()
    assert run_here(place, run, LOG).ledger.complete
    assert table_rows(place.lake, "task_id", "fetched_at") == before


def commit_in_turn(tables: Tables, numbers: Sequence[int]) -> None:
    for number in numbers:
        tables.append_pages([staged(number)])


def test_fifty_commits_sixteen_at_once(tmp_path: Path):
    """Nobody fails for the others, no row is lost and none is there twice."""
    Tables(open_folder_catalog(tmp_path)).create()
    with ThreadPoolExecutor(16) as pool:
        done = [
            pool.submit(commit_in_turn, Tables(open_folder_catalog(tmp_path)), [number])
            for number in range(50)
        ]
    assert [one.exception() for one in done] == [None] * 50
    assert aws.each_once(open_folder_catalog(tmp_path)) == aws.batches(*range(50))


def test_a_table_that_was_dropped_is_told_and_attached(tmp_path: Path, scene: Scene):
    """Its name went out of the catalog and every file stayed."""
    catalog = open_folder_catalog(tmp_path)
    step = scene.at_work(catalog)
    catalog.drop_table((NAMESPACE, "pages"))
    says(scene.fails(step), "pages")
    assert create_tables(catalog, scene.storage)["pages"] == "attached"
    scene.comes_back(catalog)


def test_a_catalog_that_was_emptied_is_told(tmp_path: Path, scene: Scene):
    """Another file in its place, without the tables that a catalog is made of."""
    step = scene.at_work(open_folder_catalog(tmp_path))
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite3")) as connection:
        connection.execute("DROP TABLE iceberg_tables")
    says(scene.fails(step), "catalog", "replaced")


def test_a_damaged_catalog_is_told(tmp_path: Path, scene: Scene):
    """Bytes that are no database any more."""
    kept = (tmp_path / "catalog.sqlite3").read_bytes()
    step = scene.at_work(sqlite_catalog(tmp_path, "uri=true"))
    (tmp_path / "catalog.sqlite3").write_bytes(b"this is no database, it is a note" * 999)
    says(scene.fails(step), "catalog", "damaged")
    (tmp_path / "catalog.sqlite3").write_bytes(kept)
    scene.comes_back(open_folder_catalog(tmp_path))


def test_a_catalog_that_another_holds_is_asked_again(tmp_path: Path, scene: Scene):
    """Locked for longer than SQLite waits: the messages wait too, and the next delivery commits."""
    catalog = sqlite_catalog(tmp_path, "uri=true&timeout=0.1")
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        says(scene.fails(scene.step(catalog)), "catalog", "another process", "again")
        other.execute("ROLLBACK")
    scene.comes_back(catalog)


def test_a_slow_catalog_costs_no_delivery(tmp_path: Path, scene: Scene):
    """A worker with patience waits with its messages in hand until the other lets go."""
    catalog = sqlite_catalog(tmp_path, "uri=true&timeout=0.1")
    other = sqlite3.connect(tmp_path / "catalog.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    tries: list[int] = []

    def step(bodies: Sequence[bytes]) -> dict[int, PipelineError]:
        tries.append(len(bodies))
        if len(tries) == 3:
            other.execute("ROLLBACK")
        return scene.step(catalog)(bodies)

    with closing(other):
        handle = patient(step, Drawing(away=0.01, patience=60), lambda: False, LOG)
        settle(scene.queue, scene.queue.receive(10, wait=0), handle, LOG)
    assert tries == [2, 2, 2]
    assert scene.queue.depth().waiting == 0
    assert scene.queue.dead().depth().waiting == 0
    assert len(aws.each_once(catalog)) == 3


# Errors that no test above can make happen, as their drivers raise them.


class _Raised(Exception):
    """As SQLAlchemy wraps what SQLite says."""

    __module__ = "sqlalchemy.exc"

    def __init__(self, name: str) -> None:
        super().__init__(
            "(sqlite3.OperationalError) it is so\n[SQL: UPDATE]\n(Background: https://sqlalche.me/e/20)"
        )
        self.orig = sqlite3.OperationalError("it is so")
        self.orig.sqlite_errorname = name


@pytest.mark.parametrize(
    ("name", "kind", "word"),
    [
        ("SQLITE_FULL", StorageUnavailable, "full: make room"),
        ("SQLITE_IOERR_WRITE", StorageUnavailable, "room"),
        ("SQLITE_READONLY_DIRECTORY", CatalogUnavailable, "this user"),
        ("SQLITE_PERM", CatalogUnavailable, "this user"),
        ("SQLITE_CANTOPEN", CatalogUnavailable, "this user"),
        ("SQLITE_BUSY_SNAPSHOT", CatalogUnavailable, "again"),
        ("SQLITE_LOCKED", CatalogUnavailable, "again"),
        ("SQLITE_CORRUPT", CatalogUnavailable, "damaged"),
        ("SQLITE_NOTADB", CatalogUnavailable, "damaged"),
        ("SQLITE_SOMETHING", CatalogUnavailable, "did not answer"),
    ],
)
def test_what_sqlite_says_is_told_with_what_to_do(name: str, kind: type[PipelineError], word: str):
    with pytest.raises(kind) as raised, translated():
        raise _Raised(name)
    says(raised.value, word)


def test_a_lake_without_its_catalog_is_no_lake_to_ask(tmp_path: Path, scene: Scene):
    """A question does not make a new, empty catalog in the place of one that is missing."""
    del scene
    shutil.move(tmp_path / "catalog.sqlite3", tmp_path / "elsewhere")
    with pytest.raises(Misuse, match="no lake"):
        Lake(tmp_path)
    assert not (tmp_path / "catalog.sqlite3").exists()
