"""From bytes to lines: whatever a file is written in, each line is read or set aside by itself."""

import codecs
import gzip
import io
import random
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from stages.records import Malformed
from stages.text_blocks import FREE_INFLATION, MAX_LINE, SHOWN, CutOff, Reject, inflate, is_text, text_blocks
from tests.stages.kit import sharded

NOISE = random.Random(5)
WORDS = [f"word {n} {NOISE.randrange(10**6)}" for n in range(60_000)]
LONG = "\n".join(WORDS).encode() + b"\n"
PACK = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor(write_checksum=True).compress}
BINARY = {
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89\0\0\0\nIDAT",
    "elf": b"\x7fELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0>\0\1\0\0\0\x90m\0\0\0\0\0\0@\0\0\0\0\0\0\0",
    "zip": b"PK\3\4\x14\0\0\0\x08\0\x9c\x8e!W\xa8e\x32\x12\x0b\0\0\0\x05\0\0\0\5\0\0\0a.txt\xcbH\xcd\xc9",
    "gzip": gzip.compress(b"how to sort a list in python"),
    "noise": random.Random(1).randbytes(5_000),
}


def lines_of(*pieces: bytes) -> tuple[list[str], list[Reject]]:
    """The lines and rejects of a text that comes in pieces."""
    blocks = list(text_blocks(pieces))
    assert [block.first for block in blocks] == [
        1 + sum(len(before.lines) for before in blocks[:at]) for at in range(len(blocks))
    ]
    assert all(block.longest >= max(map(len, block.lines)) for block in blocks)
    return [line for block in blocks for line in block.lines], [
        reject for block in blocks for reject in block.rejects
    ]


@given(
    st.lists(st.sampled_from([b"a", b"bc", b"\r", b"\n", b"\r\n", "é日👩".encode(), b"\xff", b"x" * 30_000])),
    st.lists(st.integers(0, 60) | st.integers(0, 200_000), max_size=8),
    st.sampled_from([b"", codecs.BOM_UTF8]),
)
def test_where_the_pieces_are_cut_changes_nothing(parts: list[bytes], cuts: list[int], bom: bytes):
    """Inside a character, between CR and LF, inside the byte order mark: the lines are the same."""
    head = bom + b"good line\n" * 7_000
    text = head + b"".join(parts)
    ends = sorted({min(len(head) + cut, len(text)) for cut in cuts} | {1, 2, len(head), len(text)})
    pieces = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert lines_of(*pieces) == lines_of(text)


def test_a_line_end_cut_in_two_is_one_line_end():
    """CR at the end of one block and LF at the start of the next; a lone CR there ends its line too."""
    head, tail = b"good line\n" * 7_000, b"a\r\nb\rc\n\r\nd\r\r\n\xc3\xa9\r"
    expected = lines_of(head + tail)
    assert expected[0][7_000:] == ["a", "b", "c", "", "d", "", "é"]
    for cut in range(len(tail)):
        for after in range(1, 4):
            rest = tail[cut + after :]
            assert lines_of(head, tail[:cut], tail[cut : cut + after], rest) == expected
            assert lines_of(head + tail[:cut], tail[cut : cut + after], rest) == expected


@given(st.lists(st.text("ab é日👩\t", max_size=5)), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_every_way_to_end_a_line_gives_the_same_lines(lines: list[str], end: str, closed: bool):  # noqa: FBT001  # Hypothesis names it
    """LF, CRLF and lone CR, with or without an end after the last line."""
    text = end.join(lines) + (end if closed and lines and lines[-1] else "")
    expected = lines if lines and lines[-1] else lines[:-1]
    assert lines_of(text.encode())[0] == expected


@pytest.mark.parametrize(
    ("encoding", "bom"),
    [
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
    ],
)
def test_a_byte_order_mark_says_the_encoding_and_is_no_part_of_the_text(encoding: str, bom: bytes):
    """UTF-8, UTF-16 LE and BE: read as what they are, also byte by byte."""
    raw = bom + "python 👩\u200d💻\r\nשלום\r\n日本語".encode(encoding)  # noqa: RUF001  # Hebrew, and meant
    expected = ["python 👩\u200d💻", "שלום", "日本語"]
    assert lines_of(raw) == (expected, [])
    assert lines_of(*(raw[at : at + 1] for at in range(len(raw)))) == (expected, [])
    assert sharded("k.txt", raw).keywords == expected


@pytest.mark.parametrize(
    "raw", [b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"\n\r\n \n"]
)
def test_an_empty_file_or_a_lone_bom_has_no_lines(raw: bytes):
    """An empty file is a run with nothing to do, not an error."""
    found = sharded("k.txt", raw)
    assert found.row.lines == 0
    assert not found.batches


def test_half_a_utf16_character_costs_its_line():
    """An unpaired surrogate or an odd last byte is rejected, the other lines stay."""
    raw = (
        codecs.BOM_UTF16_LE + "a\n".encode("utf-16-le") + b"\x00\xd8\n\0" + "b\nc".encode("utf-16-le") + b"x"
    )
    found = sharded("k.txt", raw)
    assert found.keywords == ["a", "b"]
    assert found.reasons == {2: "not_utf8", 4: "not_utf8"}


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("name", ["k.txt", "k.csv", "k.jsonl", "k.txt.gz"])
def test_a_binary_file_is_refused_whole(kind: str, name: str):
    """A picture or program named like a list is no list: one reason, no rejects line by line."""
    raw = BINARY[kind]
    with pytest.raises(Malformed, match="no text file"):
        sharded(name, gzip.compress(raw) if name.endswith(".gz") else raw)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"nul\0byte", "control_character"),
        (b"latin \xe9\xe8", "not_utf8"),
        (b"\xed\xa0\x80", "not_utf8"),
        (b"k" * 3_000, "keyword_too_long"),
        (b"k" * 5_000_000, "line_too_long"),
        ("日".encode() * MAX_LINE, "line_too_long"),
    ],
    ids=["nul", "latin1", "surrogate", "3000", "5MB", "long-cjk"],
)
@pytest.mark.parametrize("good", [1, 5_000])
def test_one_bad_line_costs_itself_only(bad: bytes, reason: str, good: int):
    """In a file of three lines and in one of ten thousand; the reject shows the line's beginning."""
    lines = [b"good %d" % n for n in range(good)]
    found = sharded("k.txt", b"\n".join([*lines, bad, *lines, b"last"]))
    assert found.row.kept == good + 1
    assert found.reasons == {good + 1: reason}
    shown = bad[: SHOWN * 4].decode("utf-8", "replace")[:SHOWN]
    assert found.rejects[0].text == shown


def test_an_overlong_line_is_not_held_in_memory():
    """A 40 MB line among good ones passes in little more than a block."""
    pieces = [b"first\n", *[b"x" * (1 << 18)] * 160, b"\nlast\n"]
    tracemalloc.start()
    lines, rejects = lines_of(*pieces)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert lines == ["first", "", "last"]
    assert [(reject.line, reject.reason) for reject in rejects] == [(2, "line_too_long")]


@pytest.mark.parametrize("pack", PACK)
def test_a_compressed_file_reads_as_what_it_holds(pack: str):
    """Several members or frames after one another too, as ``cat a.gz b.gz`` makes them."""
    raw = PACK[pack](LONG) + PACK[pack](b"another\n") + PACK[pack](b"")
    found = sharded(f"k.txt.{pack}", raw)
    assert found.keywords == [*WORDS, "another"]
    assert not found.rejects


@pytest.mark.parametrize("zeros", [1, 512, 700_000])
def test_zeros_between_and_after_gzip_members_are_padding(zeros: int):
    """Tapes and some tools leave them; a file of nothing but zeros is damaged, not empty."""
    padding = b"\0" * zeros
    raw = gzip.compress(b"a\n") + padding + gzip.compress(b"b\n") + padding
    assert sharded("k.txt.gz", raw).keywords == ["a", "b"]
    assert list(sharded("k.txt.gz", padding).reasons.values()) in (["damaged"], ["truncated"])


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("kept", [0.2, 0.7, 0.999])
def test_a_truncated_file_gives_the_lines_before_the_cut_and_one_reject(pack: str, kept: float):
    """Most of what was transferred is used, and the ledger shows that something is missing."""
    raw = PACK[pack](LONG)
    found = sharded(f"k.txt.{pack}", raw[: int(len(raw) * kept)])
    assert found.keywords == WORDS[: found.row.kept]
    # Zstandard gives whole blocks of 128 KiB; gzip nearly everything.
    assert found.row.kept > len(WORDS) * kept - 15_000
    assert list(found.reasons.values()) == ["truncated"]


@pytest.mark.parametrize("pack", PACK)
def test_a_cut_anywhere_is_seen(pack: str):
    """Down to the last byte of the checksum."""
    raw = PACK[pack](b"".join(b"%d\n" % n for n in range(50)))
    for cut in range(1, len(raw)):
        assert list(sharded(f"k.txt.{pack}", raw[:cut]).reasons.values()) == ["truncated"], cut


@pytest.mark.parametrize("pack", PACK)
def test_a_damaged_file_gives_one_reject_that_says_so(pack: str):
    raw = bytearray(PACK[pack](LONG))
    raw[-3] ^= 0x55
    assert list(sharded(f"k.txt.{pack}", bytes(raw)).reasons.values()) == ["damaged"]
    assert list(sharded(f"k.txt.{pack}", b"this is not compressed").reasons.values()) == ["damaged"]


@given(st.data(), st.sampled_from(sorted(PACK)))
def test_no_damage_raises_anything_but_what_is_promised(data: st.DataObject, pack: str):
    raw = bytearray(PACK[pack](LONG[:20_000]))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        sharded(f"k.txt.{pack}", bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    except Malformed as error:
        assert "no text file" in str(error)  # noqa: PT017  # most damage raises nothing


@pytest.mark.parametrize("pack", PACK)
def test_a_bomb_is_cut_off_and_takes_little_memory(pack: str):
    """128 MB in a few kilobytes: cut off at the limit, one reject, never more than some blocks held."""
    raw = PACK[pack]((b"a" * 8_000_000 + b"\n") * 2) * 8
    given_bytes = 0
    tracemalloc.start()
    pieces = inflate(io.BytesIO(raw), pack, len(raw))
    with pytest.raises(CutOff, match="inflates_too_far"):  # noqa: PT012  # it counts what comes before
        for piece in pieces:
            given_bytes += len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert given_bytes <= max(FREE_INFLATION, len(raw) * 200)
    assert peak < 48 << 20
    assert "inflates_too_far" in sharded(f"k.txt.{pack}", raw).reasons.values()


def test_honest_compression_is_no_bomb():
    """A list that repeats itself thirty times over passes whole."""
    raw = gzip.compress(b"how to sort a list in python by key\n" * 100_000)
    assert sharded("k.txt.gz", raw).row.lines == 100_000


def test_the_line_that_was_being_read_at_a_cut_is_the_reject_and_no_keyword():
    """Half a keyword would be asked as another keyword."""
    packer = zlib.compressobj(wbits=31)
    raw = packer.compress(b"first\nsecond\nthi") + packer.flush(zlib.Z_SYNC_FLUSH)
    found = sharded("k.txt.gz", raw)
    assert found.keywords == ["first", "second"]
    assert [(reject.line, reject.text) for reject in found.rejects] == [(3, "thi")]


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b"python\n", True),
        ("日本語 שלום 👩\u200d💻".encode(), True),
        ("日本語".encode()[:-1] + b" and on" * 10, True),
        (b"a\nb\xff\n", True),
        (b"a\nb\0c\nd\n", True),
        (b"\0\0\0\n", False),
        ("nur ein Wort, größer".encode("utf-16-le"), False),
        (bytes(range(256)) * 10, False),
    ],
)
def test_what_counts_as_text(head: bytes, text: bool):  # noqa: FBT001  # a row of the table above
    """A file with some bad lines is text; one whose lines are mostly bad is something else."""
    assert is_text(head) == text
