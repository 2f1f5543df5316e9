"""Odd names, files that are none, files that are gone: each ends with its reason, none in silence."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.emulator.system import System
from tests.emulator.work import as_csv, assert_whole, keywords, notification, pages_of, send

pytestmark = pytest.mark.timeout(120)


def parquet(words: list[str]) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.table({"keyword": words}), written)
    return written.getvalue()


def test_any_name_and_kind_of_file_is_read(system: System):
    """Spaces, unicode, + and % in a key; options in its folders; Parquet, by the real packages."""
    words = keywords(3, "open")
    files = {
        "keywords/a b/ü+ö 100%25 & c=d.csv": as_csv(words),
        "keywords/日本語/plus+plus%2B.csv": as_csv(words),
        "keywords/source=practice_page/locale=de-DE/some words.txt": "\n".join(words).encode(),
        "keywords/columns.parquet": parquet(words),
    }
    runs = {key: system.drop(key, body) for key, body in files.items()}
    system.wait_until_complete(runs.values())
    for key, run in runs.items():
        assert [page[:2] for page in pages_of(system, [run])] == [(word, "ok") for word in words], key
    asked = system.rows(
        f"SELECT DISTINCT source, locale FROM pages WHERE run_id = '{list(runs.values())[2]}'"  # noqa: S608
    )
    assert asked == [("practice_page", "de-DE")]


def test_what_is_no_keyword_file_is_refused_with_a_sentence(system: System):
    """No byte, a Parquet file that is none, an unknown source: complete runs of no task, with the reason."""
    refused = {
        "keywords/empty.csv": (b"", ""),
        "keywords/broken.parquet": (b"PAR1 but not really", "broken.parquet"),
        "keywords/source=nobody/x.csv": (as_csv(["a"]), "there is no source 'nobody'"),
    }
    runs = {key: system.drop(key, body) for key, (body, _) in refused.items()}
    system.wait_until_complete(runs.values())
    for key, (_, reason) in refused.items():
        found = system.rows(f"SELECT tasks, refused FROM shards WHERE run_id = '{runs[key]}'")  # noqa: S608
        assert len(found) == 1, key
        assert found[0][0] == 0, key
        assert reason in str(found[0][1] or ""), key
        assert not pages_of(system, [runs[key]])


def test_a_file_deleted_before_it_is_read_is_a_dead_letter(system: System):
    """With its reason; a file dropped beside it goes its way."""
    s3 = system.client("s3")
    gone = "keywords/gone.csv"
    version = s3.put_object(Bucket=system.bucket, Key="lists/gone.csv", Body=b"keyword\nx\n")["VersionId"]
    body = notification(system.bucket, gone, version)
    send(system, "keywords", body)
    beside = system.drop("keywords/beside.csv", as_csv(keywords(2, "keep")))
    system.wait_until_complete([beside], dead=True)
    system.wait_until_quiet()
    assert system.dead_letters() == {"keywords-dead": [body]}
    assert any("gone.csv" in line and "message failed" in line for line in system.logs("shard"))


def test_events_of_other_things_are_ignored(system: System):
    """A test event, other folders, a deletion, a folder's mark: no run, no dead letter, a line in the log."""
    before = set(system.objects("runs/"))
    body = b"keyword\nx\n"
    s3 = system.client("s3")
    for key in ("lists/again.csv", "other/x.csv", "keywords/folder/"):
        s3.put_object(Bucket=system.bucket, Key=key, Body=body)
    send(
        system,
        "keywords",
        '{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"' + system.bucket + '"}',
        notification(system.bucket, "other/x.csv", "v"),
        notification(system.bucket, "keywords/x.csv", "v", "ObjectRemoved:Delete"),
    )
    system.wait_until_quiet()
    assert set(system.objects("runs/")) == before
    assert not system.dead_letters()
    assert any("other/x.csv" in line and "ignored" in line for line in system.logs("shard"))


def test_what_is_no_message_of_ours_is_a_dead_letter_and_keeps_nothing_back(system: System):
    """In every queue: the others beside it are done."""
    for queue in ("keywords", "fetch-practice_api", "results"):
        send(system, queue, "no json", '{"something": "else"}')
    run = system.drop("keywords/among.csv", as_csv(keywords(5, "find")))
    system.wait_until_complete([run], dead=True)
    system.wait_until_quiet()
    bodies = sorted(["no json", '{"something": "else"}'])
    dead = {queue: sorted(found) for queue, found in system.dead_letters().items()}
    assert dead == {f"{queue}-dead": bodies for queue in ("keywords", "fetch-practice_api", "results")}
    assert len(pages_of(system, [run])) == 5


def test_scheduled_and_direct_drops(system: System):
    """A list that a schedule drops and keywords in a message of their own: twice told, once done."""
    words = keywords(4, "list")
    system.client("s3").put_object(Bucket=system.bucket, Key="lists/brand new.csv", Body=as_csv(words))
    scheduled = '{"key": "lists/brand new.csv", "drop": "2026-01-31T06:00:00Z", "locale": "en"}'
    direct = '{"keywords": ["how to say it", "how to mean it"], "run_id": "said-directly"}'
    send(system, "keywords", scheduled, direct, scheduled, direct)
    system.wait_until_quiet()
    system.wait_until_complete(["said-directly"])
    runs = system.rows("SELECT run_id FROM shards WHERE file = 'brand new.csv'")
    assert len(runs) == 1
    assert_whole(system, [str(runs[0][0])], words)
    assert len(pages_of(system, ["said-directly"])) == 2
