"""Bodies come back whole and readable, or not at all; never larger than their limit."""

import gzip
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.body import TooLarge, inflate, to_utf8
from stages.records import Malformed

LIMIT = 1_000_000


def raw_deflate(body: bytes) -> bytes:
    """A deflate stream without zlib's header."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def small_window(body: bytes) -> bytes:
    """A zlib stream whose first byte is not the usual one."""
    packer = zlib.compressobj(wbits=10)
    return packer.compress(body) + packer.flush()


@given(
    st.binary(max_size=2_000),
    st.sampled_from(
        [
            ("gzip", gzip.compress),
            ("x-gzip", gzip.compress),
            ("deflate", zlib.compress),
            ("deflate", raw_deflate),
            ("deflate", small_window),
            ("", bytes),
            ("identity", bytes),
            ("gzip, GZIP", lambda body: gzip.compress(gzip.compress(body))),
            ("deflate , gzip", lambda body: gzip.compress(zlib.compress(body))),
        ]
    ),
)
def test_what_was_packed_is_unpacked(body: bytes, packing: tuple[str, object]):
    """Gzip, deflate with zlib's header or bare, and several in turn."""
    name, pack = packing
    assert inflate(pack(body), name, LIMIT) == body  # type: ignore[operator]  # a packer


@pytest.mark.parametrize("cut", [0, 1, 5, 20, -9, -1])
@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_cut_body_is_malformed(name: str, pack: object, cut: int):
    with pytest.raises(Malformed):
        inflate(pack(b"some text " * 50)[:cut], name, LIMIT)  # type: ignore[operator]  # a packer


@given(st.integers(0, 10**9), st.integers(1, 255))
def test_a_damaged_body_is_malformed_or_what_it_was(at: int, change: int):
    """The checksum finds it; bytes of the header that mean nothing may differ."""
    packed = bytearray(gzip.compress(b"some text, some more and a little more", mtime=0))
    packed[at % len(packed)] ^= change
    with suppress(Malformed):
        assert inflate(bytes(packed), "gzip", LIMIT) == b"some text, some more and a little more"


@pytest.mark.parametrize("name", ["br", "zstd", "compress", "gzip, br", "rot13", "\x00"])
def test_an_encoding_that_nobody_asked_for_is_malformed(name: str):
    with pytest.raises(Malformed, match="was not asked for"):
        inflate(b"x", name, LIMIT)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_is_cut_off_at_the_limit_and_takes_no_more_memory(layers: int):
    """200 MB in some kilobytes; in two layers some hundred bytes."""
    packed = b""
    packer = zlib.compressobj(wbits=31)
    for _ in range(200):
        packed += packer.compress(b"\0" * 1_000_000)
    packed += packer.flush()
    packed = gzip.compress(packed) if layers == 2 else packed
    tracemalloc.start()
    with pytest.raises(TooLarge):
        inflate(packed, ", ".join(["gzip"] * layers), LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * LIMIT


def test_the_limit_is_exact():
    assert len(inflate(gzip.compress(b"x" * 1_000), "gzip", 1_000)) == 1_000
    assert len(inflate(b"x" * 1_000, "", 1_000)) == 1_000
    for name, pack in (("gzip", gzip.compress), ("", bytes)):
        with pytest.raises(TooLarge):
            inflate(pack(b"x" * 1_001), name, 1_000)


@given(
    st.lists(st.binary(max_size=500), min_size=1, max_size=5), st.sampled_from([b"", b"\0" * 9, b"trailing"])
)
def test_every_member_of_a_gzip_is_read(parts: list[bytes], behind: bytes):
    """Members one after the other are one body; padding and what is none behind them costs nothing."""
    packed = b"".join(map(gzip.compress, parts)) + behind
    assert inflate(packed, "gzip", LIMIT) == b"".join(parts)


def test_the_limit_is_that_of_all_members_together():
    member = gzip.compress(b"x" * 400)
    assert len(inflate(member * 2, "gzip", 800)) == 800
    with pytest.raises(TooLarge):
        inflate(member * 3, "gzip", 800)
    many = gzip.compress(b"x" * (LIMIT - 1)) * 50
    tracemalloc.start()
    with pytest.raises(TooLarge):
        inflate(many, "gzip", LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * LIMIT


def test_a_later_member_that_is_cut_or_damaged_makes_the_body_malformed():
    whole = gzip.compress(b"one") + gzip.compress(b"two" * 20)
    for damaged in (whole[:-9], whole[:-5] + b"\0" * 5, gzip.compress(b"one") + b"\x1f\x8b"):
        with pytest.raises(Malformed):
            inflate(damaged, "gzip", LIMIT)


@pytest.mark.timeout(10)
def test_members_and_layers_without_end_are_malformed_at_once():
    """Five megabytes of empty members, or a hundred layers around nothing: neither is read to its end."""
    with pytest.raises(Malformed, match="members"):
        inflate(gzip.compress(b"") * 250_000, "gzip", 5_000_000)
    layered = b"x"
    for _ in range(100):
        layered = gzip.compress(layered)
    with pytest.raises(Malformed, match="content encodings"):
        inflate(layered, ", ".join(["gzip"] * 100), LIMIT)


WORDS = "größer, ça, Füße: naïve café"


@pytest.mark.parametrize(
    ("encoding", "header", "head"),
    [
        ("utf-8", "text/html; charset=utf-8", ""),
        ("utf-8", "text/html", ""),
        ("utf-8", "", ""),
        ("iso-8859-1", "text/html; charset=ISO-8859-1", ""),
        ("cp1252", "text/html; charset='windows-1252'", ""),
        ("iso-8859-1", "text/html", '<meta charset="iso-8859-1">'),
        ("cp1252", "", '<meta http-equiv=Content-Type content="text/html; charset=latin1">'),
        ("iso-8859-15", "", '<?xml version="1.0" encoding="iso-8859-15"?>'),
        ("utf-16", "text/html", ""),
        ("utf-16-le", "text/html; charset=utf-16le", ""),
        ("utf-8-sig", "text/html; charset=iso-8859-1", ""),
        # What lies or is unknown is passed over.
        ("cp1252", "text/html; charset=utf-8", '<meta charset="windows-1252">'),
        ("utf-8", "text/html; charset=euc-jp", ""),
        ("utf-8", "text/html; charset=no-such-thing", ""),
        ("cp1252", "text/html; charset=no-such-thing", '<meta charset="windows-1252">'),
        ("utf-8", "", '<meta charset="us-ascii-but-not-really">'),
        ("utf-8", "", '<?xml version="1.0" encoding="utf-16"?>'),
        ("utf-8", "", '<meta charset="utf-16le">'),
        ("utf-8", "text/html; charset=", ""),
        ("utf-8", "text/html; charset=rot13", ""),
        ("utf-8", "text/html; charset=base64", ""),
        ("utf-8", "text/html; charset=punycode", ""),
        ("utf-8", "text/html; charset=undefined", ""),
        ("utf-8", "text/html; charset=unicode_escape", ""),
    ],
)
def test_the_charset_is_found(encoding: str, header: str, head: str):
    """By mark, header or meta; a label that lies, is unknown or is no charset at all is passed over."""
    assert to_utf8((head + WORDS).encode(encoding), header) == (head + WORDS).encode()


def test_japanese_by_header():
    assert to_utf8("日本語".encode("shift_jis"), "text/html; charset=Shift_JIS") == "日本語".encode()


def test_a_byte_that_the_charset_does_not_have_costs_itself_only():
    """0x81 is nothing in Windows-1252: the letters around it stay."""
    assert to_utf8(b"caf\xe9 \x81 \xe9t\xe9", "text/html; charset=iso-8859-1").decode() == "café \ufffd été"


@given(
    st.binary(max_size=200),
    st.one_of(
        st.text(),
        st.sampled_from(
            ["undefined", "idna", "punycode", "utf-7", "hex", "zip", "utf-32", "mbcs", "../x"]
        ).map("text/html; charset={}".format),
    ),
)
def test_any_bytes_under_any_label_become_valid_utf8(body: bytes, header: str):
    to_utf8(body, header).decode("utf-8", "strict")


@pytest.mark.timeout(10)
@pytest.mark.parametrize("label", ["idna", "punycode", "utf-7", "unicode_escape", "undefined"])
def test_no_label_makes_a_large_body_slow(label: str):
    """Some of Python's codecs take time with the square of the length."""
    assert to_utf8(b"a.b-\xe9" * 400_000, f"text/html; charset={label}")
