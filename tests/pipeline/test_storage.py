"""One contract for every storage: objects whole or not at all, and a lost race is told."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import ObjectMissing, Permanent, StorageUnavailable
from pipeline.storage.folder import FolderStorage
from pipeline.storage.protocol import Storage
from pipeline.storage.s3 import S3Storage
from tests.pipeline.s3_kit import BUCKET, OneAtATime, s3_bucket


@pytest.fixture
def folder(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "lake")


@pytest.fixture(params=["folder", "s3", "s3 with versions"])
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    if request.param == "folder":
        yield request.getfixturevalue("folder")
    else:
        with s3_bucket(versions="versions" in request.param) as client:
            yield S3Storage(OneAtATime(client), BUCKET)


def test_what_was_put_is_got(storage: Storage):
    """Bytes come back as they were written, by put, put_new and put_file."""
    storage.put("runs/a/run.json", b"one")
    storage.put("runs/a/run.json", b"two")
    assert storage.put_new("runs/b/run.json", b"\x00\xff")
    storage.put_file("keywords/c/list.txt", io.BytesIO(b"x" * 3_000_000))
    assert storage.get("runs/a/run.json") == b"two"
    assert storage.get("runs/b/run.json") == b"\x00\xff"
    assert storage.size("keywords/c/list.txt") == 3_000_000
    with storage.open("keywords/c/list.txt") as stream:
        stream.seek(2_999_999)
        assert stream.read() == b"x"


def test_only_the_first_of_two_new_writes_wins(storage: Storage):
    """``put_new`` never replaces, and says that it lost."""
    assert storage.put_new("staging/x", b"first")
    assert not storage.put_new("staging/x", b"second")
    assert storage.get("staging/x") == b"first"


def test_of_many_writers_at_once_exactly_one_wins(storage: Storage):
    """The race is decided by the storage, not by a look before."""
    won: list[int] = []
    barrier = threading.Barrier(16)

    def write(number: int) -> None:
        barrier.wait()
        if storage.put_new("staging/race", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.get("staging/race") == str(won[0]).encode()


def test_a_missing_object_is_told(storage: Storage):
    """``get`` and ``open`` raise with the key, ``find`` gives None, ``delete`` does not mind."""
    with pytest.raises(ObjectMissing) as raised:
        storage.get("runs/none/run.json")
    assert raised.value.key == "runs/none/run.json"
    with pytest.raises(ObjectMissing):
        storage.open("runs/none/run.json")
    with pytest.raises(ObjectMissing):
        storage.size("runs/none/run.json")
    assert storage.find("runs/none/run.json") is None
    storage.delete("runs/none/run.json")


def test_keys_come_in_the_same_order_everywhere(storage: Storage):
    """In that of their bytes, folder or not: ``-`` and ``.`` before ``/``, capitals before small ones."""
    expected = [
        "runs/B",
        "runs/a-b/run.json",
        "runs/a.json",
        "runs/a/run.json",
        "runs/ab",
        "runs/ü",
        "runs/🔎",
    ]
    for key in [*reversed(expected), "staging/a"]:
        storage.put(key, b"")
    assert list(storage.keys("runs/")) == expected
    assert list(storage.keys("runs/a")) == expected[1:5]
    assert list(storage.keys("")) == [*expected, "staging/a"]
    assert list(storage.keys("nothing/")) == []


ODD = [
    "a b.txt",
    "a+b.txt",
    "100%.txt",
    "%41.txt",
    "ключ/検索 🔎.csv",
    "a=b&c?d#e;f.csv",
    "'\"<>*|\\~.txt",
    "{}[]^`@!$,.txt",
]


@pytest.mark.parametrize("name", [*ODD, "/".join(["long"] * 200), "é" * 120])
def test_a_key_is_any_text(storage: Storage, name: str):
    """Keyword files have the names that people give them."""
    key = f"keywords/{name}"
    assert storage.put_new(key, b"1")
    storage.put_file(key, io.BytesIO(b"22"))
    assert storage.get(key) == b"22"
    assert storage.size(key) == 2
    assert list(storage.keys("keywords/")) == [key]
    assert list(storage.keys(key)) == [key]
    storage.delete(key)
    assert storage.find(key) is None


def test_a_file_is_put_from_where_its_stream_stands_and_stays_open(storage: Storage):
    """The caller's stream is the caller's."""
    source = io.BytesIO(b"headbody")
    source.seek(4)
    storage.put_file("rejects", source)
    assert not source.closed
    assert storage.get("rejects") == b"body"


def test_an_empty_object_is_an_object(storage: Storage):
    """Nothing in it is not nothing there."""
    storage.put_file("runs/empty", io.BytesIO())
    assert storage.find("runs/empty") == b""
    assert storage.size("runs/empty") == 0
    with storage.open("runs/empty") as stream:
        assert stream.read() == b""
        assert stream.seek(5) == 5
        assert stream.read() == b""


def test_an_object_that_was_deleted_can_be_new_again(storage: Storage):
    storage.put("unfinished/a", b"1")
    storage.delete("unfinished/a")
    assert storage.put_new("unfinished/a", b"2")
    assert storage.get("unfinished/a") == b"2"


def test_a_half_written_file_is_no_object(folder: FolderStorage, tmp_path: Path):
    """What a killed process left unfinished is in no listing."""
    folder.put("runs/a/run.json", b"")
    (tmp_path / "lake" / "runs" / "a" / ".writing-abc").write_bytes(b"half")
    assert list(folder.keys("runs/")) == ["runs/a/run.json"]


def test_no_temporary_file_stays_behind(folder: FolderStorage, tmp_path: Path):
    """Won or lost, a write leaves the object and nothing beside it."""
    folder.put_new("staging/x", b"1")
    folder.put_new("staging/x", b"2")
    folder.put("staging/y", b"3")
    assert sorted(path.name for path in (tmp_path / "lake" / "staging").iterdir()) == ["x", "y"]


@pytest.mark.parametrize(
    "key",
    ["../outside", "runs/../../outside", "/etc/passwd", "runs/./a", "a\0b", "", "é" * 600, "\udc80", "a/.."],
)
def test_no_key_leaves_the_lake(storage: Storage, key: str):
    """A key from a message is a key, never a path elsewhere."""
    with pytest.raises(Permanent):
        storage.get(key)
    with pytest.raises(Permanent):
        storage.put(key, b"")
    with pytest.raises(Permanent):
        storage.put_new(key, b"")
    with pytest.raises(Permanent):
        storage.put_file(key, io.BytesIO())
    with pytest.raises(Permanent):
        storage.open(key)
    with pytest.raises(Permanent):
        storage.size(key)
    with pytest.raises(Permanent):
        storage.delete(key)


def test_a_listing_stays_in_the_lake_too(storage: Storage):
    """A prefix leads out no more than a key."""
    with pytest.raises(Permanent):
        list(storage.keys("../"))


def test_a_name_too_long_for_a_file_is_told(folder: FolderStorage):
    """No waiting makes it shorter, so it is not tried again."""
    with pytest.raises(Permanent, match="too long"):
        folder.put("keywords/" + "x" * 300, b"")


def test_a_full_disk_is_a_sentence():
    """ENOSPC says what to do; it is worth trying again after that is done."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full to write to")
    storage = FolderStorage(Path("/dev"))
    device = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115  # closed below, after it failed
    with device, pytest.raises(StorageUnavailable, match="full: make room"), storage._translated("full"):
        device.write(b"x")
