"""A disk that is full: the work stops with a sentence, nothing half-written counts, and it goes on after."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from pipeline.catalog import Tables
from pipeline.compaction import Compactor
from pipeline.errors import StorageUnavailable
from pipeline.iceberg import NAMESPACE
from pipeline.pacers.folder import FolderPaceStore
from pipeline.practice.server import PracticeEngine
from pipeline.storage.folder import FolderStorage
from stages.pace import PaceState
from tests.pipeline.compaction_kit import filled, live, on_disk, rows
from tests.pipeline.kit import each_once
from tests.pipeline.test_catalog import staged
from tests.pipeline.test_local import own_sources

ROOT = Path(__file__).parents[2]
KEYWORDS = [f"how does topic {number} work" for number in range(60)]

RUNS = """
import json, os, resource, subprocess, sys
from pathlib import Path
from pipeline.cli.main import main

kind, place, limits = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
words = ["run", sys.argv[4], "--source", "practice_page", "--lake", f"{place}/lake"]
mounted = False
for limit in limits:
    if kind == "disk":
        how = f"remount,size={limit}k" if mounted else f"size={limit}k"
        subprocess.run(["mount", "-t", "tmpfs", "-o", how, "none", place], check=True)
        mounted = True
    else:
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit * 1024 if limit else most, most))
    code = main(words)
    print(f"ended with {code}", file=sys.stderr, flush=True)
    if not code:
        break
# A mount of one's own goes with its process: what it holds is told from here.
from tests.pipeline.kit import each_once
print(json.dumps(list(each_once(f"{place}/lake").values())))
"""


def has_own_mounts() -> bool:
    """Whether a process here may have mounts that no other sees."""
    if shutil.which("unshare") is None:
        return False
    tried = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0  # noqa: S603  # our words


def run_within(
    folder: Path, engine: PracticeEngine, kind: str, limits: list[int], *before: str
) -> tuple[list[int], list[str]]:
    """Run the same command under one limit after another; gives how often each page is there, and errors."""
    (folder / "k.txt").write_text("\n".join(KEYWORDS))
    (folder / "place").mkdir()
    sources = own_sources(folder / "sources", engine.base_url, rate=2000, burst=50)
    words = [*before, sys.executable, "-c", RUNS, kind, str(folder / "place"), msgspec.json.encode(limits)]
    done = subprocess.run(  # noqa: S603  # this file's own words
        [*words, folder / "k.txt"],
        cwd=ROOT,
        env={**os.environ, "SERPLINE_SOURCES": str(sources)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ends = [line for line in done.stderr.splitlines() if line.startswith(("serpline: ", "ended with "))]
    assert "Traceback" not in done.stderr
    return msgspec.json.decode(done.stdout.splitlines()[-1]), ends


def check_ends(ends: list[str], *, least: int) -> None:
    """Every run but the last stopped with one sentence that says what to do."""
    assert ends[-1] == "ended with 0"
    stopped = ends[:-1]
    assert len(stopped) >= 2 * least
    for sentence, code in zip(stopped[::2], stopped[1::2], strict=True):
        assert sentence.startswith("serpline: ")
        assert "run again" in sentence
        assert code == "ended with 1"


@pytest.mark.timeout(240)
def test_a_run_on_a_full_disk_stops_with_a_sentence_and_resumes(tmp_path: Path, engine: PracticeEngine):
    """A disk of 40 kB, a little larger each time: catalog, staged objects, Parquet and commits find no room.

    The same command goes on with what is there, and in the end every keyword has its page once.
    """
    if not has_own_mounts():
        assert os.environ.get("CI") != "true", "unshare makes no mounts here"
        pytest.skip("unshare makes no mounts here: no disk can be filled")
    own = ("unshare", "--user", "--map-root-user", "--mount")
    sizes = [40, 80, 120, 160, 200, 240, 280, 340, 16_000]
    once, ends = run_within(tmp_path, engine, "disk", sizes, *own)
    assert once == [1] * len(KEYWORDS)
    check_ends(ends, least=4)
    assert all("full: make room" in line for line in ends if line.startswith("serpline: "))


@pytest.mark.timeout(240)
def test_a_run_whose_files_may_not_grow_stops_with_a_sentence_and_resumes(
    tmp_path: Path, engine: PracticeEngine
):
    """The limit of a file's size (`ulimit -f`), raised a little each time: as on a disk that is full."""
    once, ends = run_within(tmp_path, engine, "file", [4, 12, 24, 32, 40, 0])
    assert once == [1] * len(KEYWORDS)
    check_ends(ends, least=2)


# No room at each single write of the tables.


class Disk:
    """Counts writes, and has no room from the nth on."""

    def __init__(self) -> None:
        self.room(1_000_000)

    def room(self, writes: int) -> None:
        """So many writes fit."""
        self.left = writes

    def write(self) -> None:
        """One."""
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


DISK = Disk()
"""The library makes its files' object by name, so that nothing can be handed to it."""


class _Stream:
    """A file whose every write may be the one that finds no room: half of it is there then."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, content: bytes) -> int:
        try:
            DISK.write()
        except OSError:
            self._stream.write(bytes(content)[: len(content) // 2])
            raise
        return int(self._stream.write(content))


class _Output(PyArrowFile):
    def create(self, overwrite: bool = False) -> Any:  # noqa: FBT001, FBT002  # the library's own
        DISK.write()
        return _Stream(super().create(overwrite))


class SmallIO(PyArrowFileIO):
    """Files on the disk that may be full."""

    def new_output(self, location: str) -> PyArrowFile:
        given = super().new_output(location)
        return _Output(location=location, path=given._path, fs=given._filesystem)


def small_catalog(lake: Path) -> Catalog:
    """The catalog of a lake, over files on that disk."""
    return SqlCatalog(
        NAMESPACE,
        uri=f"sqlite:///{lake}/catalog.sqlite3",
        warehouse=f"file://{lake}/tables",
        **{"py-io-impl": f"{__name__}.SmallIO"},
    )


def at_every_write(act: Callable[[], object], check: Callable[[], None], *, step: int = 1) -> int:
    """Act with room for no write, for ``step`` more, until it succeeds; gives how many it needed."""
    for writes in range(0, 500, step):
        DISK.room(writes)
        try:
            act()
        except StorageUnavailable as error:
            told = str(error)
        else:
            return writes
        finally:
            DISK.room(1_000_000)
        assert "full: make room" in told
        check()
    raise AssertionError("it never succeeded")


def test_a_commit_finds_no_room_at_any_of_its_writes(tmp_path: Path):
    """Data file, manifests, metadata: the table is what it was, and the next try lands."""
    filled(tmp_path, 2)
    before, files = rows(tmp_path), on_disk(tmp_path)
    tables = Tables(small_catalog(tmp_path), sleep=lambda _: None)
    halves: Counter[bool] = Counter()

    def check() -> None:
        assert rows(tmp_path) == before
        halves[on_disk(tmp_path) == files] += 1

    tried = at_every_write(lambda: tables.append_pages([staged(7)]), check)
    assert tried >= 6
    # Where the data file itself found no room nothing of it is left; later ones go with their age.
    assert halves[True] >= 3
    assert len(each_once(tmp_path)) == 9
    assert set(each_once(tmp_path).values()) == {1}


def test_compaction_finds_no_room_at_any_of_its_writes(tmp_path: Path):
    """The lake answers as before, from the files that it had; with room the same command ends well."""
    filled(tmp_path, 3)
    before, files = rows(tmp_path), live(tmp_path)

    def check() -> None:
        assert rows(tmp_path) == before
        assert live(tmp_path) == on_disk(tmp_path) == files

    catalog = small_catalog(tmp_path)
    tried = at_every_write(
        lambda: list(Compactor(catalog, tmp_path, sleep=lambda _: None).compact()), check, step=2
    )
    assert tried >= 6
    assert rows(tmp_path) == before
    assert len(live(tmp_path)) == 1


class _FullFolder(FolderStorage):
    """A folder on a disk without room."""

    def _written(self, key: str) -> Any:
        del key
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_every_write_of_the_lakes_objects_says_what_to_do(tmp_path: Path):
    """Objects and paces are told as tables are."""
    storage = _FullFolder(tmp_path)
    with (tmp_path / "file").open("wb+") as file:
        for write in (
            lambda: storage.put("staging/x", b"x"),
            lambda: storage.put_new("staging/x", b"x"),
            lambda: storage.put_file("staging/x", file),
        ):
            with pytest.raises(StorageUnavailable, match="full: make room and run again"):
                write()
    assert list(storage.keys("staging/")) == []


def test_a_pace_that_finds_no_room_stays_as_it_was(tmp_path: Path):
    """The state of a source is what it was before, and no half file of it stays."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full to write to")
    store = FolderPaceStore(tmp_path)
    store.change("s", lambda _: (PaceState(tat=5.0), None))
    (tmp_path / "pace" / "s.new").symlink_to("/dev/full")
    with pytest.raises(StorageUnavailable, match="full: make room"):
        store.change("s", lambda _: (PaceState(tat=9.0), None))
    assert store.read("s").tat == 5.0
    assert not (tmp_path / "pace" / "s.new").is_symlink()
