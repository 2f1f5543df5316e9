"""The drop step: every file that S3 tells of becomes one frozen run, however often it is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline import keys
from pipeline.errors import ObjectMissing, Permanent, StorageUnavailable
from pipeline.runs import finish_run
from pipeline.steps.drop import LINES_A_SECOND
from stages.records import Batch
from stages.run import LINES_A_PART, Options, parts_for
from tests.pipeline.kit import API
from tests.pipeline.steps.drop_kit import BUCKET, Bench, message, notification, record


@pytest.mark.parametrize("name", ["a b.txt", "100%+1.txt", "größe 東京.txt", "a%20b+c.txt", "a=b&c.txt"])
def test_a_key_is_read_as_it_was_dropped(bench: Bench, name: str):
    """S3 encodes keys in its events; the run has the key itself, and its name."""
    key = f"keywords/mine/{name}"
    version = bench.storage.drop(key, b"one\ntwo\n")
    bench(notification(record(key, version)))
    [run] = bench.runs()
    assert (run.key, run.name, run.version, run.by) == (key, name, "v1", "workers")
    assert bench.keywords() == ["one", "two"]
    assert bench.storage.find(keys.unfinished(run.run_id)) is not None


def test_an_event_delivered_twice_is_one_run_and_a_file_dropped_again_another(bench: Bench):
    """The object's version names the run; each run reads its own version, also after a newer drop."""
    first = bench.storage.drop("keywords/k.txt", b"old\n")
    second = bench.storage.drop("keywords/k.txt", b"new\n")
    for version in (second, first, first, second):
        bench(notification(record("keywords/k.txt", version)))
    assert sorted(run.version for run in bench.runs()) == ["v1", "v2"]
    assert bench.keywords() == ["new", "old", "old", "new"]
    assert len({row.run_id for row in bench.rows()}) == 2


def test_without_versions_content_and_sequence_name_the_run(bench: Bench):
    """A bucket that keeps no versions tells drops apart by what the event says besides."""
    bench.storage.put("keywords/k.txt", b"one\n")
    for sequencer in ("1", "1", "2"):
        bench(notification(record("keywords/k.txt", eTag="e", sequencer=sequencer)))
    assert len(bench.runs()) == 2
    assert {run.version for run in bench.runs()} == {""}


@pytest.mark.parametrize(
    "ignored",
    [
        message(Service="Amazon S3", Event="s3:TestEvent", Bucket=BUCKET),
        notification(record("keywords/k.txt", event="ObjectRemoved:Delete")),
        notification(record("lists/k.txt")),
        notification(record("runs/r/run.json")),
        notification(record("keywords/source=x/")),
        notification(record("keywords/")),
        notification(),
    ],
)
def test_what_is_no_drop_is_ignored(bench: Bench, ignored: bytes):
    """Test events, removals, other folders and folders' marks leave nothing behind."""
    bench.storage.put("keywords/k.txt", b"one\n")
    bench(ignored)
    assert bench.runs() == []
    assert list(bench.storage.keys(keys.UNFINISHED)) == []
    assert bench.keywords() == []


def test_an_event_of_another_bucket_is_permanent(bench: Bench):
    foreign = record("keywords/k.txt")
    foreign["s3"]["bucket"]["name"] = "another"
    with pytest.raises(Permanent, match="an event of bucket another: this is lake-of-tests"):
        bench(notification(foreign))


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (record("keywords/gone.txt", "v1"), ObjectMissing),
        ({"eventName": "ObjectCreated:Put", "s3": {"bucket": 5}}, Permanent),
        ({"s3": {"bucket": {"name": "another"}, "object": {"key": "x"}}}, Permanent),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_broken_record_never_keeps_its_neighbours_back(
    bench: Bench, broken: dict[str, Any], error: type[Exception], at: int
):
    """The message is buried for the broken one; the others are frozen, and their parts are on their way."""
    records = [
        record(f"keywords/{name}.txt", bench.storage.drop(f"keywords/{name}.txt", b"k\n")) for name in "ab"
    ]
    records.insert(at, broken)
    with pytest.raises(error):
        bench(notification(*records))
    runs = bench.runs()
    assert [run.name for run in runs] == ["a.txt", "b.txt"]
    parts = bench.parts()
    assert {part.run_id for part in parts} == {run.run_id for run in runs}
    for part in parts:
        bench(msgspec.json.encode(part))
    assert bench.keywords() == ["k", "k"]


def test_of_two_failures_the_one_that_may_pass_decides(bench: Bench):
    """A message is not buried for one record while another only waits for storage."""
    bench.storage.drop("keywords/a.txt", b"k\n")
    bench.storage.away.add("keywords/a.txt")
    records = [record("keywords/a.txt", "v1"), record("keywords/gone.txt", "v1")]
    for order in (records, records[::-1]):
        with pytest.raises(StorageUnavailable):
            bench(notification(*order))
    bench.storage.away.clear()
    with pytest.raises(ObjectMissing):
        bench(notification(*records))
    assert len(bench.parts()) == 1


def test_several_drops_in_one_message_are_sharded_each_by_itself(bench: Bench):
    """One that cannot be read later keeps no other waiting."""
    records = [
        record(f"keywords/{name}.txt", bench.storage.drop(f"keywords/{name}.txt", b"k\n")) for name in "ab"
    ]
    bench(notification(*records))
    assert bench.keywords() == []
    assert len(bench.parts()) == 2


def test_folders_name_the_options(bench: Bench):
    """What the path says holds for the file; other folders say nothing."""
    key = f"keywords/mine/source={API}/locale=DE_de/device=mobile/pages=2/team=x/k.txt"
    bench(notification(record(key, bench.storage.drop(key, b"one\n"))))
    [run] = bench.runs()
    assert run.options == Options(API, "de-DE", "mobile", 2)
    assert run.refused == ""
    assert bench.keywords() == ["one", "one"]


def test_a_folder_says_how_long_a_run_lasts(bench: Bench):
    """Frozen with the run: its batches are small, and each has its moment within the spread."""
    key = f"keywords/source={API}/spread=1h/k.txt"
    bench(notification(record(key, bench.storage.drop(key, b"\n".join(b"k%d" % at for at in range(60))))))
    [run] = bench.runs()
    assert (run.spread, run.batch_size, run.refused) == (3_600.0, 1, "")
    moments = [batch.not_before - run.created_at for batch in bench.sent("fetch", Batch)]
    assert moments == pytest.approx([minute * 60.0 for minute in range(60)])


@pytest.mark.parametrize(
    ("folders", "sentence"),
    [
        ("source=nobody", "there is no source 'nobody' here; there are: "),
        ("locale=english-please", "'english-please' is no locale; write language and country, as in en-US"),
        ("device=fridge", "'fridge' is no device; there are: desktop, mobile, tablet"),
        ("pages=many", f"pages must be 1 to 10 for source {API}"),
        ("pages=0", f"pages must be 1 to 10 for source {API}"),
        ("pages=11", f"pages must be 1 to 10 for source {API}"),
        ("spread=soon", "'soon' is no spread; write 90s, 45m, 6h or 2d, up to 30d"),
    ],
)
def test_wrong_options_refuse_the_file_in_a_sentence(bench: Bench, folders: str, sentence: str):
    """The run is frozen as refused, asks nothing, and the ledger has the sentence."""
    key = f"keywords/{folders}/k.txt"
    bench(notification(record(key, bench.storage.drop(key, b"one\ntwo\n"))))
    [run] = bench.runs()
    assert run.refused.startswith(sentence)
    [row] = bench.rows()
    assert (row.refused, row.tasks, row.parts) == (run.refused, 0, 1)
    assert bench.keywords() == []
    [reject] = bench.storage.get(keys.rejects(run.run_id, 0)).splitlines()
    assert msgspec.json.decode(reject) == {"line": 0, "reason": "file_refused", "text": run.refused}


def test_a_refusal_is_frozen_too(bench: Bench):
    """A source that is deployed later does not change what became of the run."""
    removed = bench.sources.pop("wikipedia")
    key = "keywords/source=wikipedia/k.txt"
    event = notification(record(key, bench.storage.drop(key, b"one\n")))
    bench(event)
    bench.sources["wikipedia"] = removed
    bench(event)
    assert bench.keywords() == []
    assert [bool(run.refused) for run in bench.runs()] == [True]


@pytest.mark.parametrize(("name", "refused"), [("k.txt", ""), ("k.csv", ""), ("k.pdf", "k.pdf: ")])
def test_an_empty_file_is_a_run_of_nothing(bench: Bench, name: str, refused: str):
    """0 bytes: no keywords, or no keyword file; either way the ledger says so and nothing waits."""
    bench(notification(record(f"keywords/{name}", bench.storage.drop(f"keywords/{name}", b""))))
    [run] = bench.runs()
    assert run.refused.startswith(refused)
    [row] = bench.rows()
    assert (row.tasks, row.lines) == (0, 0)
    assert row.refused.startswith(run.refused)
    assert bench.keywords() == []


def test_a_file_that_is_gone_is_named(bench: Bench):
    """Nothing is frozen of it, whatever its options say."""
    for key in ("keywords/gone.txt", "keywords/source=nobody/gone.txt"):
        with pytest.raises(ObjectMissing) as raised:
            bench(notification(record(key, "v1")))
        assert raised.value.key == key
    assert bench.runs() == []


def test_a_file_too_long_to_be_read_in_time_is_refused(bench: Bench):
    """Each part reads the whole file; the sentence says how many lines there is time for."""
    bench.longest = 10 / LINES_A_SECOND
    key = "keywords/k.txt"
    bench(notification(record(key, bench.storage.drop(key, b"k\n" * 10))))
    bench(notification(record(key, bench.storage.drop(key, b"k\n" * 11))))
    refused = sorted(run.refused for run in bench.runs())
    assert refused[0] == ""
    assert refused[1].startswith("about 11 lines: ")
    assert refused[1].endswith("a function has time for 10; split the file")


def test_an_event_told_again_after_its_run_is_complete_begins_nothing(bench: Bench):
    """No batch is sent, and the run is not looked for among those that are unfinished."""
    event = notification(record("keywords/k.txt", bench.storage.drop("keywords/k.txt", b"one\n")))
    bench(event)
    [run] = bench.runs()
    assert bench.keywords() == ["one"]
    finish_run(bench.storage, run.run_id, bench.clock())
    bench.rows()
    bench(event)
    assert (bench.keywords(), bench.rows(), bench.parts()) == ([], [], [])
    assert bench.storage.find(keys.unfinished(run.run_id)) is None


def test_one_part_is_sharded_at_once_and_several_are_sent(bench: Bench):
    """The common case needs no second message; a huge file is shared out over invocations."""
    key = "keywords/k.txt"
    lines = b"".join(b"k%d\n" % number for number in range(7))
    bench(notification(record(key, bench.storage.drop(key, lines))))
    assert bench.parts() == []
    assert len(bench.keywords()) == 7
    [run] = bench.runs()
    # As a file of thirty million lines would have been frozen.
    huge = msgspec.structs.replace(run, parts=parts_for(2 * LINES_A_PART + 1))
    bench.storage.put(keys.run(run.run_id), msgspec.json.encode(huge))
    bench(notification(record(key, "v1")))
    assert bench.keywords() == []
    parts = bench.parts()
    assert [part.part for part in parts] == [0, 1, 2]
    for part in parts:
        bench(msgspec.json.encode(part))
    assert sorted(bench.keywords()) == [f"k{number}" for number in range(7)]
