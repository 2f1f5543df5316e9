"""Request templates: text with named slots, filled so that a value never leaves its slot."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import quote

import msgspec
import orjson

SLOTS = ("base_url", "keyword", "locale", "language", "country", "device", "page", "offset", "size")

_SLOT = re.compile(r"\{([^{}]*)\}")


class Template(msgspec.Struct, frozen=True):
    """Literal texts and slot names in turn: ``texts`` has one more entry than ``slots``."""

    texts: tuple[str, ...]
    slots: tuple[str, ...]


def parse_template(text: str, path: str) -> Template:
    """The template that a text describes; ``{{`` and ``}}`` stand for braces themselves.

    Raises ``ValueError`` naming ``path`` where a slot is unknown.
    """
    marked = text.replace("{{", "\x00").replace("}}", "\x01")
    pieces = _SLOT.split(marked)
    slots = tuple(pieces[1::2])
    unknown = [slot for slot in slots if slot not in SLOTS]
    if unknown:
        raise ValueError(f"Expected a slot of {', '.join(SLOTS)}, got {{{unknown[0]}}} - at `$.{path}`")
    texts = tuple(piece.replace("\x00", "{").replace("\x01", "}") for piece in pieces[::2])
    return Template(texts, slots)


def fill(template: Template, values: dict[str, str], escape: Literal["url", "form", "json"]) -> str:
    """The text with every slot filled. Every value but ``base_url`` is escaped for its place."""
    filled = [template.texts[0]]
    for slot, text in zip(template.slots, template.texts[1:], strict=True):
        value = values[slot]
        filled.append(value if slot == "base_url" else _escaped(value, escape))
        filled.append(text)
    return "".join(filled)


def _escaped(value: str, escape: Literal["url", "form", "json"]) -> str:
    if escape == "json":
        return orjson.dumps(value).decode()[1:-1]
    return quote(value, safe="", errors="replace")
