"""An answer that repeats the secret it was asked with: the secret is taken out before anyone reads it."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote, quote_plus

import msgspec
import orjson

from stages.body import inflate
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
        found.update(form.encode() for form in (*forms, in_json.replace("/", "\\/")))
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
    return msgspec.structs.replace(response, headers=headers, body=_masked(body, forms))


def _in_markup(text: str) -> str:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;")):
        text = text.replace(character, entity)
    return text


def _masked(data: bytes, forms: tuple[bytes, ...]) -> bytes:
    for form in forms:
        data = data.replace(form, _MASK)
    return data
