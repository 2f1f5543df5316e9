"""Response bodies: inflated within a limit, and brought to UTF-8 by header, BOM or meta."""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from typing import Literal

import msgspec
from isal import isal_zlib

from stages.records import Malformed, Response

ACCEPT_ENCODING = "gzip, deflate"
"""What ``inflate`` can undo, and so what requests ask for."""

_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_META = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,300}?(?:charset|encoding)\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE
)
_HEAD = 4096
_GZIP = b"\x1f\x8b"
_NO_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
"""Codecs of Python's that no page is written in; some take quadratic time, or refuse everything."""

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


MOST_ENCODINGS = 4
"""Layers of compression in one answer: nobody who means well needs more than two."""

MOST_MEMBERS = 1_000
"""Gzip members in one body; each costs a copy of what is behind it."""


class TooLarge(Malformed):
    """The body inflates beyond the source's limit."""


def inflate(body: bytes, content_encoding: str, limit: int) -> bytes:
    """Undo the content encodings, the last one first; never more than ``limit`` bytes are held.

    Raises ``Malformed`` for damaged, cut or unknown encodings, ``TooLarge`` above the limit.
    """
    names = [part.strip().lower() for part in content_encoding.split(",")]
    if len(names) > MOST_ENCODINGS:
        raise Malformed(f"the body has {len(names)} content encodings")
    for name in reversed(names):
        if name in ("gzip", "x-gzip"):
            body = _gunzip(body, limit)
        elif name == "deflate":
            # RFC 9110 says zlib; some servers send the bare stream.
            body, _ = _inflate(body, 15 if _is_zlib(body) else -15, limit)
        elif name not in ("", "identity"):
            raise Malformed(f"content encoding {name[:20]!r} was not asked for")
    if len(body) > limit:
        raise TooLarge(f"the body is larger than {limit:,} bytes")
    return body


def unpacked(response: Response, limit: int) -> Response:
    """The answer with its body inflated; as it is where that cannot be, for whoever judges it to say why."""
    encoding = response.headers.get("content-encoding")
    if encoding is None:
        return response
    try:
        body = inflate(response.body, encoding, limit)
    except Malformed:
        return response
    headers = {name: value for name, value in response.headers.items() if name != "content-encoding"}
    return msgspec.structs.replace(response, headers=headers, body=body)


def _is_zlib(body: bytes) -> bool:
    """Whether the two header bytes of RFC 1950 stand there."""
    return body[:1] != b"" and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _gunzip(body: bytes, limit: int) -> bytes:
    """Every member of a gzip file (RFC 1952, 2.2). What follows the last one and is none is passed over."""
    inflated, rest = _inflate(body, 31, limit)
    if not rest.startswith(_GZIP):
        return inflated
    members = [inflated]
    while rest.startswith(_GZIP):
        if len(members) == MOST_MEMBERS:
            raise Malformed(f"the compressed body has more than {MOST_MEMBERS:,} members")
        limit -= len(members[-1])
        member, rest = _inflate(rest, 31, limit)
        members.append(member)
    return b"".join(members)


def _inflate(body: bytes, window: Literal[31, 15, -15], limit: int) -> tuple[bytes, bytes]:
    """One compressed stream, and the bytes behind it."""
    inflater = isal_zlib.decompressobj(wbits=window)
    try:
        inflated: bytes = inflater.decompress(body, limit + 1)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub does not say it is an exception
        raise Malformed("the compressed body is damaged") from error
    if len(inflated) > limit:
        raise TooLarge("the body inflates beyond its limit")
    if not inflater.eof:
        raise Malformed("the compressed body ends early")
    return inflated, inflater.unused_data


def to_utf8(body: bytes, content_type: str) -> bytes:
    """The text as valid UTF-8 without a BOM.

    The charset is the BOM's, else the header's, else the one a ``meta`` names, else UTF-8. One that
    the bytes contradict is passed over; where none fits, what cannot be read becomes U+FFFD.
    """
    for bom, encoding in _BOMS:
        if body.startswith(bom):
            return _recoded(body[len(bom) :], encoding, "replace")
    named = _CHARSET.search(content_type)
    header = _codec(named[1]) if named is not None else ""
    tried = [header] if header == "utf-8" else [header, *_in_text(body), "utf-8"]
    for encoding in filter(None, tried):
        with suppress(UnicodeError):
            return _recoded(body, encoding, "strict")
    fallback = next((codec for codec in (header, *_in_text(body)) if codec not in ("", "utf-8")), "utf-8")
    return _recoded(body, fallback, "replace")


def _in_text(body: bytes) -> list[str]:
    """The codecs that the text names itself. One that could be read as ASCII so far is no UTF-16 or -32."""
    codecs_named = [_codec(match[1].decode()) for match in _META.finditer(body[:_HEAD])]
    return [codec for codec in codecs_named if not codec.startswith(("utf-16", "utf-32"))]


def _codec(label: str) -> str:
    """The Python codec for a label; empty for an unknown one or one that is no text encoding."""
    try:
        found = codecs.lookup(label)
    except LookupError:
        return ""
    if not getattr(found, "_is_text_encoding", True) or found.name in _NO_CHARSETS:
        return ""
    # As browsers do: pages that say Latin-1 mean Windows-1252.
    return "cp1252" if found.name in ("iso8859-1", "ascii") else found.name


def _recoded(body: bytes, encoding: str, errors: str) -> bytes:
    text = body.decode(encoding, errors)
    return body if encoding == "utf-8" and errors == "strict" else text.encode("utf-8", "replace")
