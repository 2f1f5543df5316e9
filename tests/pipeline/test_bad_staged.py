"""What is wrong with one staged object stays its own: it is buried with key and reason, the rest commits."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import keys
from pipeline.catalog import Tables
from pipeline.iceberg import open_folder_catalog
from pipeline.metrics import MemoryMetrics
from pipeline.queues.memory import MemoryBroker
from pipeline.steps.aggregate import AggregateStep
from pipeline.storage.folder import FolderStorage
from pipeline.worker import settle
from stages.records import Closing, Page, Result, Task
from stages.shard import ShardRow
from stages.staged import encode_shard_row, encode_staged
from tests.pipeline.kit import LOG, each_once, make_batch, table_rows

BAD = "staging/run1/0/66-0.json.gz"
BAD_ROW = "staging/run2/0/shard.json"
BAD_CLOSING = keys.staged_closing("practice_api", "66")

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def page_of(keyword: str) -> Page:
    found = (Result(1, "organic", "t", "https://a.example/", "a.example", "s"),)
    return Page(Task(keyword), 1, "ok", "", 200, 1.8e9, 1.8e9, 12, 900, "http://engine/", None, found)


class Scene:
    """A lake with two good batches and a good shard row, and a queue that points to them and to more."""

    def __init__(self, lake: Path) -> None:
        self.lake = lake
        self.storage = FolderStorage(lake)
        self.tables = Tables(open_folder_catalog(lake))
        self.tables.create()
        self.metrics = MemoryMetrics()
        self.queue = MemoryBroker().queue("results")
        for number, keyword in ((1, "a"), (2, "b")):
            batch = make_batch([], batch_no=number)
            self.storage.put(keys.staged(batch), encode_staged(batch, [page_of(keyword)], lane=""))
        row = ShardRow("run1", "2026-11-23", "k.txt", 0, 1, tasks=2)
        self.storage.put(keys.staged_shard("run1", 0), encode_shard_row(row))

    def deliver(self, *bodies: bytes) -> list[str]:
        """Deliver bad messages among good ones; gives the reasons of those that were buried."""
        first, second = (pointer(keys.staged(make_batch([], batch_no=number))) for number in (1, 2))
        self.queue.send([first, *bodies, second, pointer(keys.staged_shard("run1", 0))])
        step = AggregateStep(self.storage, self.tables, self.metrics, LOG)
        settle(self.queue, self.queue.receive(100, wait=0), step, LOG)
        assert self.queue.depth().waiting == 0
        return [letter.receipt.reason for letter in self.queue.dead().receive(100, wait=0)]

    def check_the_rest(self) -> None:
        """The good ones, and nothing else, are in the tables."""
        assert each_once(self.lake) == {("a", 1): 1, ("b", 1): 1}
        assert table_rows(self.lake, "run_id", "tasks", table="shards") == [("run1", 2)]
        assert self.tables.ledger("run1", "2026-11-23").complete
        assert self.metrics["pages_committed"] == 2


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def pointer(key: str, **more: str) -> bytes:
    return msgspec.json.encode({"key": key, "pages": 1, **more})


def good_bytes() -> bytes:
    return encode_staged(make_batch([], batch_no=66), [page_of("c"), page_of("d")], lane="")


def changed(change: Change) -> bytes:
    """A staged object whose bytes are whole, and whose content somebody else made."""
    header, columns = (msgspec.json.decode(line) for line in gzip.decompress(good_bytes()).splitlines())
    change(header, columns)
    return b"".join(gzip.compress(msgspec.json.encode(one) + b"\n") for one in (header, columns))


DAMAGED = {
    "empty": b"",
    "cut": good_bytes()[:-20],
    "cut in the header": good_bytes()[:30],
    "not gzip": b"PK\x03\x04 this is another kind of file",
    "no JSON": gzip.compress(b"{") + gzip.compress(b"}"),
    "a later version": changed(lambda header, _: header.update(v=99)),
    "no version": changed(lambda header, _: header.pop("v") and None),
}


@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED)
def test_an_object_that_cannot_be_read_is_buried_alone(scene: Scene, raw: bytes):
    """Cut, not gzip, of another version: the dead letter says which object and what is wrong with it."""
    scene.storage.put(BAD, raw)
    [reason] = scene.deliver(pointer(BAD))
    assert BAD in reason
    assert len(reason) > len(BAD) + 20
    scene.check_the_rest()


def test_an_object_that_is_missing_is_buried_alone(scene: Scene):
    """A key without an object, the key of a folder, and a key below a file: there is no object."""
    names = [BAD, "staging/run1", "staging/run1/0/", f"{keys.staged(make_batch([], batch_no=1))}/x"]
    reasons = scene.deliver(*map(pointer, names))
    assert [name in reason for name, reason in zip(names, reasons, strict=True)] == [True] * 4
    scene.check_the_rest()


def column(name: str, value: Any, *, of: str = "pages") -> Change:
    """A value in the first row of a column that no row can hold."""
    return lambda _header, columns: columns[of][name].__setitem__(0, value)


def field(name: str, value: Any) -> Change:
    """A value that all rows of a batch share."""
    return lambda header, _columns: header["batch"].update({name: value})


UNFIT: dict[str, Change] = {
    "a rank beyond 32 bits": column("rank", 2**31, of="results"),
    "a page number beyond 32 bits": column("page", -(2**40)),
    "bytes beyond 64 bits": column("bytes", 2**63),
    "a total beyond 64 bits": column("total_results", 10**30),
    "a time beyond 64 bits": column("fetched_at", 2**70),
    "a time no calendar has": column("requested_at", 2**62),
    "a time before there were any": column("requested_at", -1),
    "a status that is none": column("status", "perhaps"),
    "a result without a rank": column("rank", None, of="results"),
    "a keyword that is a number": column("keyword", 7),
    "no day": field("run_date", "yesterday"),
    "a day in another spelling": field("run_date", "20261123"),
    "a day that there is not": field("run_date", "2026-02-30"),
    "a part beyond 32 bits": field("part", 2**31),
    "a batch number beyond 32 bits": field("batch_no", 2**63),
    "a cut beyond 64 bits": field("cut", 2**64),
    "no source": field("source", ""),
    "a source that no folder can be called": field("source", "é" * 60),
    "one count too many": lambda _, columns: columns["pages"]["count"].append(0),
}


@pytest.mark.parametrize("change", UNFIT.values(), ids=UNFIT)
def test_a_row_that_breaks_the_schema_is_buried_alone(scene: Scene, change: Change):
    """Whole bytes with a row that the table cannot hold: its object is buried, its neighbours commit."""
    scene.storage.put(BAD, changed(change))
    [reason] = scene.deliver(pointer(BAD))
    assert BAD in reason
    assert "\n" not in reason
    scene.check_the_rest()


def test_many_bad_objects_keep_no_good_one_back(scene: Scene):
    """All kinds at once, in one delivery: as many dead letters, each naming its own object."""
    named = {}
    for number, raw in enumerate([*DAMAGED.values(), *map(changed, UNFIT.values())]):
        key = f"staging/run1/7/{number}-0.json.gz"
        scene.storage.put(key, raw)
        named[key] = pointer(key)
    reasons = scene.deliver(*named.values())
    assert [key in reason for key, reason in zip(named, reasons, strict=True)] == [True] * len(named)
    scene.check_the_rest()


ROW = msgspec.to_builtins(ShardRow("run2", "2026-11-23", "k.txt", 0, 1, tasks=3))
ROWS: dict[str, bytes] = {
    "empty": b"",
    "cut": msgspec.json.encode(ROW)[:-9],
    "gzip": gzip.compress(msgspec.json.encode(ROW)),
    "without a part": msgspec.json.encode({name: ROW[name] for name in ROW if name != "part"}),
    "no day": msgspec.json.encode({**ROW, "run_date": "soon"}),
    "a day in another spelling": msgspec.json.encode({**ROW, "run_date": "2026-W48-1"}),
    "a part beyond 32 bits": msgspec.json.encode({**ROW, "part": 2**31}),
    "lines beyond 64 bits": msgspec.json.encode({**ROW, "lines": 2**63}),
}


@pytest.mark.parametrize("raw", ROWS.values(), ids=ROWS)
def test_a_shard_row_that_is_none_is_buried_alone(scene: Scene, raw: bytes):
    """The staged row of a part is held to the same: pages and the rows of other parts commit."""
    scene.storage.put(BAD_ROW, raw)
    [reason] = scene.deliver(pointer(BAD_ROW))
    assert BAD_ROW in reason
    scene.check_the_rest()


CLOSING = msgspec.to_builtins(
    Closing(id="66", source="practice_page", event="closed", happened_at=1.8e9, closed_since=1.8e9)
)
CLOSINGS: dict[str, bytes] = {
    "empty": b"",
    "cut": msgspec.json.encode(CLOSING)[:-9],
    "gzip": gzip.compress(msgspec.json.encode(CLOSING)),
    "without a source": msgspec.json.encode({name: CLOSING[name] for name in CLOSING if name != "source"}),
    "refusals beyond 32 bits": msgspec.json.encode({**CLOSING, "refusals": 2**31}),
} | {
    f"{name} at {moment:g}": msgspec.json.encode({**CLOSING, name: moment})
    for name in ("happened_at", "closed_since", "closed_until")
    # In milliseconds, microseconds, nanoseconds; beyond 64 bits of seconds; the year 10000; before 1970.
    for moment in (1.8e12, 1.8e15, 1.8e18, 6.8e16, 9.2e18, 1e20, 1e300, 253_402_300_800.0, -5.0, -1e17)
}


@pytest.mark.parametrize("raw", CLOSINGS.values(), ids=CLOSINGS)
def test_a_closing_that_is_none_is_buried_alone(scene: Scene, raw: bytes):
    """A moment that no calendar has, in whatever unit it was meant: the rest of the delivery commits."""
    scene.storage.put(BAD_CLOSING, raw)
    [reason] = scene.deliver(pointer(BAD_CLOSING))
    assert BAD_CLOSING in reason
    assert "\n" not in reason
    scene.check_the_rest()


ELSEWHERE = [
    pointer("s3://another-bucket/staging/run1/0/66-0.json.gz"),
    pointer("arn:aws:s3:::another-bucket/staging/run1/0/66-0.json.gz"),
    pointer("https://another-bucket.s3.amazonaws.com/staging/run1/0/66-0.json.gz"),
    pointer("another-bucket/staging/run1/0/66-0.json.gz"),
    pointer(BAD, bucket="another-bucket"),
    pointer("runs/run1/run.json"),
    pointer("tables/pages/metadata/00000.json"),
    pointer("/staging/run1/0/66-0.json.gz"),
    pointer("staging/../runs/run1/run.json"),
    pointer("staging/run1/../../../outside"),
    pointer("staging/run1/0/66-0\0.json.gz"),
    pointer(""),
    msgspec.json.encode({"bucket": "lake", "pages": 3}),
    b'{"key": "staging/\xff"}',
    b"no JSON",
]


@pytest.mark.parametrize("body", ELSEWHERE)
def test_a_pointer_to_anything_but_a_staged_object_is_refused(scene: Scene, body: bytes):
    """Another bucket, another folder, a way out of the lake: buried, and nothing of it is read."""
    scene.storage.put(BAD, good_bytes())
    for key in ("runs/run1/run.json", "tables/pages/metadata/00000.json"):
        scene.storage.put(key, good_bytes())
    (scene.lake.parent / "outside").write_bytes(good_bytes())
    assert len(scene.deliver(body)) == 1
    scene.check_the_rest()
