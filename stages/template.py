"""Request templates: text with named slots, filled so that a value never leaves its slot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

import msgspec
import orjson

SLOTS = ("base_url", "keyword", "locale", "language", "country", "device", "page", "offset", "start", "size")

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_SECRET = re.compile(r"\{secret:([A-Z][A-Z0-9_]{0,63})\}")


class Template(msgspec.Struct, frozen=True):
    """Literal texts and slot names in turn: ``texts`` has one more entry than ``slots``."""

    texts: tuple[str, ...]
    slots: tuple[str, ...]


def parse_template(text: str, path: str) -> Template:
    """The template that a text describes; ``{{`` and ``}}`` stand for braces themselves.

    Raises ``ValueError`` naming ``path`` where a slot is unknown.
    """
    texts, slots, at = [""], [], 0
    for token in _TOKEN.finditer(text):
        texts[-1] += text[at : token.start()]
        at = token.end()
        slot = token[1]
        if slot is None:
            texts[-1] += token[0][0]
        elif slot in SLOTS:
            slots.append(slot)
            texts.append("")
        elif slot.startswith("secret:"):
            raise ValueError(f"Expected secrets in headers alone: addresses are stored - at `$.{path}`")
        else:
            raise ValueError(f"Expected a slot of {', '.join(SLOTS)}, got {{{slot}}} - at `$.{path}`")
    texts[-1] += text[at:]
    return Template(tuple(texts), tuple(slots))


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
        return orjson.dumps(value.encode("utf-8", "replace").decode()).decode()[1:-1]
    return quote(value, safe="", errors="replace")


def secret_names(text: str) -> tuple[str, ...]:
    """The names of the secrets that a header's text has slots for, as in ``Bearer {secret:API_KEY}``."""
    return tuple(_SECRET.findall(text))


def fill_secrets(text: str, secrets: Mapping[str, str]) -> str:
    """A header's text with its secrets in their slots."""
    return _SECRET.sub(lambda slot: secrets[slot[1]], text)


def mask_secrets(text: str) -> str:
    """A header's text as it may be shown: every secret is ``***``."""
    return _SECRET.sub("***", text)
