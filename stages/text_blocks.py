"""Bytes of a text file to blocks of decoded lines, with what cannot be read set aside line by line.

A block keeps the file's line numbers: an unreadable line leaves an empty string in its place.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import msgspec
import zstandard
from isal import isal_zlib

from stages.records import Malformed

BLOCK = 1 << 18
"""Bytes read at a time: large enough for C-speed work on whole blocks, small in memory."""

MAX_LINE = 1 << 16
"""Bytes of one line; what is longer is no keyword and is not held in memory."""

MAX_RATIO = 200
"""A compressed file that inflates further than this is cut off (an honest list reaches 30)."""

FREE_INFLATION = 64 << 20
"""Bytes that any compressed file may give before ``MAX_RATIO`` counts."""

SHOWN = 200
"""Characters of an unreadable line that are kept to find it by."""

_HEAD = 1 << 16
"""Bytes by which a file is judged to be text."""

_ZST_PIECE = 512
"""Compressed bytes undone at a time: 4 of them can stand for 128 KiB, so this gives 16 MiB at most."""

_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r")) + b"\x7f"


class Reject(msgspec.Struct, frozen=True):
    """A line that could not be read: its number (from 1), a reason in one word, and its text."""

    line: int
    reason: str
    text: str


class Block(msgspec.Struct, frozen=True):
    """Consecutive lines without their ends.

    ``first`` is the number of ``lines[0]``, from 1; ``longest`` the characters of the longest line.
    """

    first: int
    lines: list[str]
    longest: int
    rejects: tuple[Reject, ...] = ()


class CutOff(Exception):
    """The bytes ended before the file did.

    ``reason`` says why in one word, ``text`` is what stands of the line that was being read.
    """

    def __init__(self, reason: str, text: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text


def inflate(stream: BinaryIO, compression: str, size: int) -> Iterator[bytes]:
    """Give the content of a file in pieces of about ``BLOCK`` bytes.

    ``compression`` is ``gz``, ``zst`` or empty; ``size`` is the stored size in bytes. Raises
    ``CutOff`` where the compressed data end early, are damaged, or inflate beyond ``MAX_RATIO``.
    """
    if not compression:
        yield from iter(lambda: stream.read(BLOCK), b"")
        return
    held: list[bytes] = []
    waiting = 0
    inflated = _gunzip(stream) if compression == "gz" else _unzstd(stream)
    try:
        for piece in _bounded(inflated, max(FREE_INFLATION, size * MAX_RATIO)):
            held.append(piece)
            waiting += len(piece)
            if waiting >= BLOCK:
                yield b"".join(held)
                held.clear()
                waiting = 0
    except CutOff as cut:
        # What came out before the cut is good: its lines are kept.
        yield b"".join(held)
        raise cut from cut.__cause__
    yield b"".join(held)


def _bounded(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    given = 0
    for piece in pieces:
        given += len(piece)
        if given > limit:
            raise CutOff("inflates_too_far")
        yield piece


def _gunzip(stream: BinaryIO) -> Iterator[bytes]:
    """The content of gzip members, one after another; zeros between and after them are padding."""
    raw = stream.read(BLOCK)
    while raw:
        member = isal_zlib.decompressobj(wbits=31)
        while not member.eof:
            at_end = not raw
            try:
                piece = member.decompress(raw, BLOCK)
            except isal_zlib.IsalError as error:  # type: ignore[misc]  # its stub does not say it is an exception
                raise CutOff("damaged") from error
            if at_end and not piece and not member.eof:
                raise CutOff("truncated")
            yield piece
            raw = b"" if member.eof else member.unconsumed_tail or stream.read(BLOCK)
        raw = member.unused_data.lstrip(b"\0")
        while not raw and (more := stream.read(BLOCK)):
            raw = more.lstrip(b"\0")


def _unzstd(stream: BinaryIO) -> Iterator[bytes]:
    """The content of zstd frames, one after another."""
    unpacker = zstandard.ZstdDecompressor()
    frame = unpacker.decompressobj()
    inside = False
    while raw := stream.read(BLOCK):
        for at in range(0, len(raw), _ZST_PIECE):
            piece = raw[at : at + _ZST_PIECE]
            while piece:
                try:
                    yield frame.decompress(piece)
                except zstandard.ZstdError as error:
                    raise CutOff("damaged") from error
                inside = not frame.eof
                piece = frame.unused_data if frame.eof else b""
                if frame.eof:
                    frame = unpacker.decompressobj()
    if inside:
        raise CutOff("truncated")


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file look like text: few controls, few broken UTF-8 sequences."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    if _strange(head) * 20 <= len(head):
        return True
    # In a file of a few lines one bad line weighs much: it is text where most of its lines are.
    lines = head.split(b"\n") if len(head) < 1_000 else []
    return sum(_strange(line) > 0 for line in lines) * 2 <= sum(bool(line) for line in lines) > 0


def _strange(raw: bytes) -> int:
    controls = len(raw) - len(raw.translate(None, _CONTROLS))
    return controls + raw.decode("utf-8", "replace").count("\ufffd")


def text_blocks(pieces: Iterable[bytes]) -> Iterator[Block]:
    """Give the lines of UTF-8 (or, by its BOM, UTF-16) text, whatever its line ends.

    Raises ``Malformed`` where the first bytes are not text at all. Where ``pieces`` raises
    ``CutOff``, the lines before it are given and the broken end becomes one reject.
    """
    number = 1
    for block in _line_blocks(_transcode(pieces)):
        if isinstance(block, CutOff):
            yield Block(number, [""], 0, (Reject(number, block.reason, _shown(block.text)),))
            return
        decoded = _decode(block, number)
        yield decoded
        number += len(decoded.lines)


def _transcode(pieces: Iterable[bytes]) -> Iterator[bytes | CutOff]:
    """The pieces as UTF-8 without a BOM; an unpaired UTF-16 surrogate becomes U+FFFD."""
    decoder: codecs.IncrementalDecoder | None = None
    first = True
    try:
        for piece in _headed(pieces):
            given = piece
            if first:
                first = False
                if not is_text(given[:_HEAD]):
                    raise Malformed("this is no text file; keyword files are text, JSON lines or Parquet")
                if given.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    decoder = codecs.getincrementaldecoder("utf-16")("replace")
                given = given.removeprefix(codecs.BOM_UTF8)
            yield decoder.decode(given).encode("utf-8", "replace") if decoder is not None else given
    except CutOff as cut:
        yield cut
        return
    if decoder is not None:
        yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def _headed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, the first piece long enough to judge the file by, however short the pieces come."""
    rest = iter(pieces)
    head: list[bytes] = []
    size = 0
    try:
        while size < _HEAD and (piece := next(rest, None)) is not None:
            head.append(piece)
            size += len(piece)
    except CutOff as cut:
        if size:
            yield b"".join(head)
        raise cut from cut.__cause__
    if size:
        yield b"".join(head)
    yield from rest


def _line_blocks(pieces: Iterable[bytes | CutOff]) -> Iterator[bytes | CutOff]:
    """Whole lines with LF ends; an overlong line is passed on cut to ``MAX_LINE`` + 1 bytes."""
    carry = b""
    for piece in pieces:
        if isinstance(piece, CutOff):
            # What stands of an unfinished line may itself be cut: it is the reject, not a keyword.
            yield CutOff(piece.reason, carry)
            return
        joined = carry + piece
        carry = b""
        if b"\r" in joined:
            if joined.endswith(b"\r"):
                joined, carry = joined[:-1], b"\r"
            joined = joined.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = joined.rfind(b"\n") + 1
        carry = joined[end:] + carry
        if len(carry) > MAX_LINE:
            carry = carry[: MAX_LINE + 1] + (b"\r" if carry.endswith(b"\r") else b"")
        if end:
            yield joined[:end]
    if carry:
        yield carry.removesuffix(b"\r") + b"\n"


def _decode(block: bytes, number: int) -> Block:
    try:
        text = block.decode("ascii" if block.isascii() else "utf-8")
    except UnicodeDecodeError:
        return _decode_singly(block, number)
    lines = text.split("\n")
    del lines[-1]
    longest = max(map(len, lines))
    if "\ufffd" in text or longest * 4 > MAX_LINE:
        return _decode_singly(block, number)
    return Block(number, lines, longest)


def _decode_singly(block: bytes, number: int) -> Block:
    lines: list[str] = []
    rejects: list[Reject] = []
    for at, raw in enumerate(block[:-1].split(b"\n"), number):
        line = "" if len(raw) > MAX_LINE else raw.decode("utf-8", "replace")
        if len(raw) > MAX_LINE:
            rejects.append(Reject(at, "line_too_long", _shown(raw)))
        elif "\ufffd" in line:
            rejects.append(Reject(at, "not_utf8", _shown(raw)))
            line = ""
        lines.append(line)
    return Block(number, lines, max(map(len, lines)), tuple(rejects))


def _shown(raw: bytes) -> str:
    return raw[: SHOWN * 4].decode("utf-8", "replace")[:SHOWN]
