"""Keywords in one form: the normaliser, for one text and for a whole block at once."""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b

from stages.records import MAX_KEYWORD

NORMALISER = 1
"""The version of the rules below; a run keeps the one it was frozen with."""

_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_NEEDS_WORK_ASCII = bytes(set(range(32)) - {10}) + b"\x7f"
_NEEDS_WORK_UTF8 = (b"\xc2", b"\xe1\x9a\x80", b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xef\xbb\xbf")
"""In NFKC text: C1 controls and NEL, ogham space, line and paragraph separators, the BOM."""


def normalise(text: str) -> str:
    """The keyword's one form: no BOM, NFKC, white space collapsed and trimmed."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.replace("\ufeff", ""))
    return " ".join(text.split())


def objection(keyword: str) -> str:
    """Why a normalised text cannot be a keyword, in one word; empty where it can."""
    if not keyword:
        return "empty"
    if len(keyword) > MAX_KEYWORD:
        return "keyword_too_long"
    if _CONTROL.search(keyword):
        return "control_character"
    return ""


def all_normal(text: str) -> bool:
    """Whether every line of a text is its own normal form, none empty, none with an objection.

    One answer for a whole block, from a few passes at C speed; False only costs time.
    """
    if (
        "  " in text
        or " \n" in text
        or "\n " in text
        or "\n\n" in text
        or text[:1] in " \n"
        or text[-1:] in " \n"
    ):
        return False
    raw = text.encode()
    if len(raw.translate(None, _NEEDS_WORK_ASCII)) != len(raw):
        return False
    if text.isascii():
        return True
    return unicodedata.is_normalized("NFKC", text) and not any(mark in raw for mark in _NEEDS_WORK_UTF8)


def owner(keyword: str, parts: int) -> int:
    """Which part of a run keeps this keyword: blake2b of its UTF-8, modulo the number of parts."""
    return int.from_bytes(blake2b(keyword.encode(), digest_size=8).digest(), "big") % parts
