"""CSS on selectolax (Lexbor), the common case: a third of the time that lxml takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from stages.records import Malformed
from stages.rule_language import Find, Language, Read, nesting, squeeze

MAX_DEPTH = 1_500
"""Elements within elements: three times what browsers build. Lexbor's time grows with the square of it."""

MAX_REOPENED = 300_000
"""``<b>`` and its like are opened anew where what they are in is closed before them: so many at most. Of 40
kB made of this a parser makes 2 GB."""

_VOID = frozenset((b"area", b"br", b"col", b"hr", b"img", b"input", b"link", b"meta", b"source", b"wbr"))
_REOPENED = frozenset(b"a b big code em font i nobr s small strike strong tt u".split())
_TAG = re.compile(rb"<(/?)([a-zA-Z][^\s/>]{0,20})")
_BREAK = re.compile(r"<(?=/?(?:br|p|div|li|td|tr|h[1-6])\b)", re.IGNORECASE)


def _css_parse(body: bytes) -> LexborNode:
    # A page with few start tags cannot be deep, so only a large or a strange one pays for the look.
    tags = body.count(b"<")
    if tags > MAX_DEPTH and tags - body.count(b"</") > MAX_DEPTH:
        _check_nesting(body)
    root = LexborHTMLParser(body).root
    if root is None:
        raise Malformed("the page is empty")
    return root


def _check_nesting(body: bytes) -> None:
    """How deep the tags of a page could nest at most: an end tag closes what it names, if that is open.

    Raises ``Malformed`` where that is too deep, or would open too much anew.
    """
    opened: Counter[bytes] = Counter()
    depth = marked = reopened = 0
    for slash, written in _TAG.findall(body):
        name = written.lower()
        if name in _VOID:
            continue
        if not slash:
            opened[name] += 1
            depth += 1
            marked += name in _REOPENED
        elif opened[name]:
            opened[name] -= 1
            depth -= 1
            if name in _REOPENED:
                marked -= 1
            else:
                reopened += marked
        if depth > MAX_DEPTH or reopened > MAX_REOPENED:
            raise Malformed("the page nests its elements too deeply")


def _css_check(selector: str) -> None:
    try:
        LexborHTMLParser("<p>").css(selector)
    except (SelectolaxError, ValueError) as error:
        raise ValueError(f"not a CSS selector: {selector!r}") from error


def _css_find(selector: str) -> Find:
    _css_check(selector)
    return lambda node: node.css(selector)


def _css_find_first(selector: str) -> Callable[[Any], Any]:
    if selector in ("", "."):
        return lambda node: node
    _css_check(selector)
    return lambda node: node.css_first(selector)


def _css_read(attribute: str) -> Read:
    if attribute:
        return lambda node: node.attrs.get(attribute) or ""  # an attribute without a value is None
    return lambda node: squeeze(node.text())


def _css_nesting(found: list[Any]) -> int:
    return nesting(found, lambda node: node.parent, lambda node: node.mem_id)


def html_text(markup: str) -> str:
    """The text that a piece of HTML shows, as in a snippet with ``<b>`` and ``&amp;``."""
    if "<" not in markup and "&" not in markup:
        return markup
    return squeeze(_css_parse(_BREAK.sub(" <", markup).encode("utf-8", "replace")).text())


CSS = Language(_css_parse, _css_find, _css_find_first, _css_read, _css_nesting)
