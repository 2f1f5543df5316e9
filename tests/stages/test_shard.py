"""Sharding loses no keyword, asks none twice, and gives every part the same answer every time."""

import hashlib
import io
import os
import re
import subprocess
import sys
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.keywords import normalise, objection
from stages.records import MAX_BATCH, MAX_KEYWORD
from stages.run import Options
from stages.shard import shard
from stages.text_blocks import is_text
from tests.stages.kit import OPTIONS, run_of, sharded

LETTERS = st.sampled_from("abc é日\u0308\u3000\t\x00\ufeff\r\n\u200d👩ש")
LINES = st.lists(st.one_of(st.sampled_from(["python", "Python", " python ", "sort list"]), st.text(LETTERS)))
CSV_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "\uff43", " a  b", "", "x\x00"]),
        st.sampled_from(["", "engine", "other", "nowhere"]),
        st.sampled_from(["", "en-US", "DE_de", "fr-FR", "nonsense!"]),
        st.sampled_from(["", "mobile", "Desktop", "toaster"]),
        st.sampled_from(["", "1", "3", "0", "9", "many"]),
    )
)
MIXED = "".join(
    f"{kind} {n % 700}\n"
    for n in range(1_000)
    for kind in ("sort a list", "日本語", "bad\x00line", " wide  ")
).encode()


def csv_of(rows: list[tuple[str, ...]]) -> bytes:
    """A keyword file with every column."""
    return "\n".join(map(",".join, [("keyword", "source", "locale", "device", "pages"), *rows])).encode()


@given(LINES, st.integers(1, 4), st.integers(1, 3))
def test_every_line_is_kept_or_a_duplicate_or_rejected(lines: list[str], parts: int, pages: int):
    """Blank lines are none; each distinct good keyword is asked for every page, whatever the text."""
    data = "\n".join(lines).encode()
    text = data.decode().removeprefix("\ufeff")
    given_lines = [normalise(line) for line in re.split("\r\n|\r|\n", text)]
    good = [keyword for keyword in given_lines if not objection(keyword)]
    options = msgspec.structs.replace(OPTIONS, pages=pages)
    if not is_text(data):
        return
    found = [sharded("k.txt", data, part=part, parts=parts, options=options) for part in range(parts)]
    assert sum(one.row.lines for one in found) == sum(keyword != "" for keyword in given_lines)
    asked = Counter(keyword for one in found for keyword in one.keywords)
    assert asked == dict.fromkeys(good, pages)
    assert sum(one.row.duplicates for one in found) == len(good) - len(set(good))


@given(CSV_ROWS, st.integers(1, 7))
def test_the_parts_together_are_the_whole_and_share_nothing(rows: list[tuple[str, ...]], parts: int):
    """Part k of K needs to know nothing of the others: together they are what one part would be."""
    data = csv_of(rows)
    if not is_text(data):
        return
    whole = sharded("k.csv", data)
    shares = [sharded("k.csv", data, part=part, parts=parts) for part in range(parts)]
    assert sorted(task for share in shares for task in share.tasks) == sorted(whole.tasks)
    assert sorted(reject.line for share in shares for reject in share.rejects) == sorted(whole.reasons)
    for name in ("lines", "kept", "duplicates", "rejected", "tasks"):
        assert sum(getattr(share.row, name) for share in shares) == getattr(whole.row, name)


def test_an_unreadable_line_belongs_to_the_part_of_its_number():
    data = b"good\n" * 20 + b"\x00\n" * 7
    for part in range(3):
        assert all(line % 3 == part for line in sharded("k.txt", data, part=part, parts=3).reasons)


def fingerprint(parts: int) -> str:
    """Everything that sharding a part gives, in one hash."""
    return hashlib.sha256(msgspec.json.encode(sharded("k.txt", MIXED, parts=parts))).hexdigest()


@pytest.mark.parametrize("parts", [1, 3])
def test_a_part_repeated_gives_the_same_batches(parts: int):
    """Also in another process with another hash seed: a repeated message changes nothing."""
    script = f"from tests.stages.test_shard import fingerprint\nprint(fingerprint({parts}))"
    for seed in ("1", "2"):
        answer = subprocess.run(  # noqa: S603  # our own script
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        )
        assert answer.stdout.strip() == fingerprint(parts)


class _Dribble(io.BytesIO):
    """A stream that gives less than it is asked for, as networks do."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size, 777) if size is not None and size > 0 else size)


@pytest.mark.parametrize("name", ["k.txt", "k.csv"])
def test_how_the_bytes_arrive_changes_nothing(name: str):
    data = b"keyword\n" + MIXED
    run = run_of(name, len(data))
    assert list(shard(_Dribble(data), run, 0)) == list(shard(io.BytesIO(data), run, 0))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5))))
def test_a_keyword_asked_with_more_pages_later_adds_only_the_new_ones(asked: list[tuple[str, int]]):
    """The most pages that any row asks are asked, each once; a row that adds none is a duplicate."""
    most: dict[str, int] = {}
    duplicates = 0
    for keyword, pages in asked:
        duplicates += pages <= most.get(keyword, 0)
        most[keyword] = max(pages, most.get(keyword, 0))
    found = sharded("k.csv", csv_of([(keyword, "", "", "", str(pages)) for keyword, pages in asked]))
    expected = {(keyword, page) for keyword, pages in most.items() for page in range(1, pages + 1)}
    assert {task[3:] for task in found.tasks} == expected
    assert found.row.duplicates == duplicates


ASKED = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["pages", "page"]), st.integers(1, 5)), max_size=12
)


@given(ASKED, st.integers(1, 4))
def test_single_pages_and_first_pages_together_ask_each_page_once(
    asked: list[tuple[str, str, int]], size: int
):
    """``page`` asks for that one, ``pages`` for all up to it; a row that adds none is a duplicate."""
    lines = [msgspec.json.encode({"keyword": keyword, kind: number}) for keyword, kind, number in asked]
    found = sharded("k.jsonl", b"\n".join(lines), batch_size=size)
    wanted: set[tuple[str, int]] = set()
    duplicates = 0
    for keyword, kind, number in asked:
        adds = {(keyword, page) for page in ([number] if kind == "page" else range(1, number + 1))}
        duplicates += adds <= wanted
        wanted |= adds
    assert sorted((keyword, page) for *_, keyword, page in found.tasks) == sorted(wanted)
    assert found.row.duplicates == duplicates


def test_a_single_page_is_asked_once_a_locale():
    rows = b"keyword,locale,page\na,de-DE,2\na,en-US,2\na,de-DE,2\n"
    found = sharded("k.csv", rows)
    assert sorted(found.tasks) == [
        ("engine", "de-DE", "desktop", "a", 2),
        ("engine", "en-US", "desktop", "a", 2),
    ]
    assert found.row.duplicates == 1


def test_the_same_keyword_for_another_device_or_locale_is_another_task():
    data = csv_of([("a", "", "", "mobile", ""), ("a", "", "", "", ""), ("a", "", "de-DE", "", "")])
    assert sharded("k.csv", data).row.kept == 3


@given(st.integers(0, 60), st.integers(1, 4), st.integers(1, 9))
def test_batches_are_full_but_for_the_last(keywords: int, pages: int, size: int):
    options = msgspec.structs.replace(OPTIONS, pages=pages)
    data = "".join(f"k{n}\n" for n in range(keywords)).encode()
    batches = sharded("k.txt", data, batch_size=size, options=options).batches
    assert [batch.batch_no for batch in batches] == list(range(1, len(batches) + 1))
    assert all(len(batch.tasks) == size for batch in batches[:-1])
    assert all(1 <= len(batch.tasks) <= size for batch in batches[-1:])


@pytest.mark.parametrize("letter", ["\U0001f469", '"', "\\", "k"])
def test_a_message_of_the_longest_keywords_stays_below_a_mebibyte(letter: str):
    """SQS takes no more; keywords of four bytes a character and ones that JSON escapes included."""
    data = "".join(f"{n:04}{letter * (MAX_KEYWORD - 4)}\n" for n in range(MAX_BATCH)).encode()
    (batch,) = sharded("k.txt", data, batch_size=MAX_BATCH).batches
    assert len(batch.tasks) == MAX_BATCH
    worn = tuple(msgspec.structs.replace(task, attempts=9, refusals=9) for task in batch.tasks)
    assert len(msgspec.json.encode(msgspec.structs.replace(batch, tasks=worn, hop=999, cut=999))) < 1 << 20


def test_duplicates_are_found_after_normalising():
    """``Python`` in wide letters, with two spaces or a byte order mark is no second question."""
    wide = " \uff53\uff4f\uff52\uff54 list"
    lines = ["sort list", "sort  list", wide, "\ufeffsort\u3000list", "café", "cafe\u0301"]
    found = sharded("k.txt", "\n".join(lines).encode())
    assert found.keywords == ["sort list", "café"]
    assert found.row.duplicates == 4


@settings(max_examples=50)
@given(st.lists(st.text("ab é\u3000", max_size=6), min_size=1, max_size=30))
def test_the_fast_and_the_slow_path_find_the_same_keywords(lines: list[str]):
    """One bad line in a block sends the block the slow way: its good lines come out the same."""
    fast = sharded("k.txt", "\n".join(lines).encode())
    slow = sharded("k.txt", "\n".join([*lines, "x" * (MAX_KEYWORD + 1)]).encode())
    assert slow.tasks == fast.tasks
    assert slow.row.duplicates == fast.row.duplicates


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (Options("nowhere", "en-US", "desktop", 1), "unknown_source"),
        (Options("other", "fr-FR", "desktop", 1), "unknown_locale"),
        (Options("engine", "en-US", "toaster", 1), "unknown_device"),
        (Options("engine", "en-US", "desktop", 0), "too_many_pages"),
    ],
)
def test_lines_of_a_run_that_nobody_can_ask_are_rejected_with_the_reason(options: Options, reason: str):
    """Never batches for a queue that nobody reads."""
    found = sharded("k.txt", b"a\n\nb\n", options=options)
    assert found.reasons == {1: reason, 3: reason}
    assert not found.batches


def test_two_hundred_thousand_lines_add_up():
    data = b"".join(b"keyword number %d\n" % (n % 150_000) for n in range(200_000))
    found = [sharded("k.txt", data, part=part, parts=2) for part in range(2)]
    assert sum(one.row.kept for one in found) == 150_000
    assert sum(one.row.duplicates for one in found) == 50_000


def test_a_keyword_of_three_thousand_characters_costs_its_own_line_only():
    found = sharded("k.txt", b"a\n" + b"k" * 3_000 + b"\nb\n")
    assert found.reasons == {2: "keyword_too_long"}
    assert found.keywords == ["a", "b"]
