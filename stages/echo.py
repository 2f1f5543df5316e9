"""An answer that repeats the secret it was asked with: the secret is taken out before anyone reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

import msgspec
import orjson

from stages.body import inflate, to_utf8
from stages.records import Malformed, Response

SHORTEST = 8
"""Characters of a secret: what is shorter (a trial's ``public``) is a word that answers may well hold."""

_MASK = b"***"


def spellings(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """The secrets as an answer may spell them, longest first: plain, in an address, in markup, in JSON."""
    found: set[bytes] = set()
    for secret in secrets:
        if len(secret) < SHORTEST:
            continue
        in_json = orjson.dumps(secret).decode()[1:-1]
        forms = (
            secret,
            quote(secret),
            quote(secret, safe=""),
            quote_plus(secret),
            _in_markup(secret),
            in_json,
        )
        escaped = (in_json.replace("/", "\\/"), json.dumps(secret)[1:-1], *_in_careful_json(secret))
        found.update(form.encode() for form in (*forms, *escaped))
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def without_secrets(response: Response, forms: tuple[bytes, ...], limit: int) -> Response:
    """The answer with ``***`` for each of these, in headers and body; ``limit`` is that of the body."""
    # Bytes of a header that are no UTF-8 come as surrogates, and go on as such.
    headers = {
        name: _masked(value.encode("utf-8", "surrogateescape"), forms).decode("utf-8", "surrogateescape")
        for name, value in response.headers.items()
    }
    try:
        body = inflate(response.body, headers.get("content-encoding", ""), limit)
    except Malformed:
        # Whoever judges it finds the same, and reads nothing of it.
        return msgspec.structs.replace(response, headers=headers)
    headers.pop("content-encoding", None)
    # In another charset the secret is other bytes, so the text is read as whoever judges it would.
    content_type = headers.get("content-type", "")
    text = to_utf8(body, content_type)
    if text is not body:
        headers["content-type"] = f"{content_type.partition(';')[0]}; charset=utf-8"
    return msgspec.structs.replace(response, headers=headers, body=_masked(text, forms))


def _in_markup(text: str) -> str:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;")):
        text = text.replace(character, entity)
    return text


def _in_careful_json(text: str) -> tuple[str, str]:
    """As JSON that could stand in markup is written (Go, .NET): small hexadecimal digits, and large ones."""
    small = large = orjson.dumps(text.replace('"', "\0")).decode()[1:-1].replace("\\u0000", "\\u0022")
    for character in "<>&'+":
        small = small.replace(character, f"\\u{ord(character):04x}")
        large = large.replace(character, f"\\u{ord(character):04X}")
    return small, large


def _masked(data: bytes, forms: tuple[bytes, ...]) -> bytes:
    for form in forms:
        data = data.replace(form, _MASK)
    return data
