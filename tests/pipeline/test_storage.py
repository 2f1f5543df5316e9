"""Objects in a folder: whole or not at all, and a lost race is told."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

from pipeline.errors import ObjectMissing, Permanent, StorageUnavailable
from pipeline.storage.folder import FolderStorage


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "lake")


def test_what_was_put_is_got(storage: FolderStorage):
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


def test_only_the_first_of_two_new_writes_wins(storage: FolderStorage):
    """``put_new`` never replaces, and says that it lost."""
    assert storage.put_new("staging/x", b"first")
    assert not storage.put_new("staging/x", b"second")
    assert storage.get("staging/x") == b"first"


def test_of_many_writers_at_once_exactly_one_wins(storage: FolderStorage):
    """The race is decided by the file system, not by a look before."""
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


def test_a_missing_object_is_told(storage: FolderStorage):
    """``get`` and ``open`` raise with the key, ``find`` gives None, ``delete`` does not mind."""
    with pytest.raises(ObjectMissing) as raised:
        storage.get("runs/none/run.json")
    assert raised.value.key == "runs/none/run.json"
    with pytest.raises(ObjectMissing):
        storage.open("runs/none/run.json")
    assert storage.find("runs/none/run.json") is None
    storage.delete("runs/none/run.json")


def test_keys_come_in_order_and_without_what_is_half_written(storage: FolderStorage, tmp_path: Path):
    """A listing has the keys below a prefix; a file that a killed process left unfinished is no object."""
    for key in ("runs/b/run.json", "runs/a/run.json", "staging/a"):
        storage.put(key, b"")
    (tmp_path / "lake" / "runs" / "a" / ".writing-abc").write_bytes(b"half")
    assert list(storage.keys("runs/")) == ["runs/a/run.json", "runs/b/run.json"]
    assert list(storage.keys("runs/a")) == ["runs/a/run.json"]
    assert list(storage.keys("nothing/")) == []


def test_no_temporary_file_stays_behind(storage: FolderStorage, tmp_path: Path):
    """Won or lost, a write leaves the object and nothing beside it."""
    storage.put_new("staging/x", b"1")
    storage.put_new("staging/x", b"2")
    storage.put("staging/y", b"3")
    assert sorted(path.name for path in (tmp_path / "lake" / "staging").iterdir()) == ["x", "y"]


@pytest.mark.parametrize("key", ["../outside", "runs/../../outside", "/etc/passwd"])
def test_no_key_leaves_the_lake(storage: FolderStorage, key: str):
    """A key from a message is a key, never a path elsewhere."""
    with pytest.raises(Permanent):
        storage.get(key)
    with pytest.raises(Permanent):
        storage.put(key, b"")


def test_a_full_disk_is_a_sentence():
    """ENOSPC says what to do; it is worth trying again after that is done."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full to write to")
    storage = FolderStorage(Path("/dev"))
    device = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115  # closed below, after it failed
    with device, pytest.raises(StorageUnavailable, match="full: make room"), storage._translated("full"):
        device.write(b"x")
