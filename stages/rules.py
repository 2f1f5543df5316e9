"""The rule languages: how each parses an answer, finds rows, and reads values from a row.

CSS runs on selectolax (Lexbor), XPath on lxml, with parsel to read XML safely, JSON paths
are JMESPath on orjson's objects. Every rule is compiled once, when its source is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Literal

import jmespath
import msgspec
import orjson
from lxml import etree
from parsel import Selector
from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from stages.records import Malformed

Find = Callable[[Any], Iterable[Any]]
"""The things a selector finds below a thing, in document order."""

Read = Callable[[Any], str]
"""One value of a found thing, as text."""


Damage = Literal["", "cut", "deep"]
"""What is missing of a parsed answer: nothing, its end, or what stands deeper than its parser goes."""


class Language(msgspec.Struct, frozen=True):
    """One rule language. ``find_first`` gives the first match or None and may stop there.

    ``nesting`` is how many of some found things stand within each other, ``damage`` says whether a parser
    that mends what it reads has left something out.
    """

    parse: Callable[[bytes], Any]
    find: Callable[[str], Find]
    find_first: Callable[[str], Callable[[Any], Any]]
    read: Callable[[str], Read]
    nesting: Callable[[list[Any]], int] = lambda _found: 1
    damage: Callable[[Any, bytes], Damage] = lambda _root, _body: ""


def _plain(value: object) -> str:
    """A number or truth value as text; whole numbers without a point."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def squeeze(text: str) -> str:
    """Text with its white space collapsed and trimmed."""
    return " ".join(text.split())


# CSS


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
    return _nesting(found, lambda node: node.parent, lambda node: node.mem_id)


def _nesting(found: list[Any], above: Callable[[Any], Any], key: Callable[[Any], Any]) -> int:
    """The most of these that stand within each other; no element is climbed over twice."""
    counted = {key(one) for one in found}
    levels: dict[Any, int] = {}
    for one in found:
        node, path = one, []
        while node is not None and key(node) not in levels:
            path.append(key(node))
            node = above(node)
        level = levels[key(node)] if node is not None else 0
        for passed in reversed(path):
            level += passed in counted
            levels[passed] = level
    return max((levels[one] for one in counted), default=0)


def html_text(markup: str) -> str:
    """The text that a piece of HTML shows, as in a snippet with ``<b>`` and ``&amp;``."""
    if "<" not in markup and "&" not in markup:
        return markup
    return squeeze(_css_parse(_BREAK.sub(" <", markup).encode("utf-8", "replace")).text())


# XPath and XML

_PLAIN_PATH = re.compile(
    r"""(?P<here>\.?)//(?P<tag>\*|[a-zA-Z][\w-]*)(?:\[@(?P<name>[\w-]+)=(["'])(?P<value>[^"']*)\4\])?"""
)
"""An element by its name and at most one attribute: most fields of most pages."""


_HTML = etree.HTMLParser(encoding="utf-8", huge_tree=False, collect_ids=False)
"""One for all pages: making a parser for each, as parsel does, is a twentieth of reading a page."""


def _html_parse(body: bytes) -> Any:
    try:
        root = etree.fromstring(body.replace(b"\x00", b"").strip(), _HTML)
    except etree.LxmlError as error:
        raise Malformed(f"the page is no HTML: {error}") from error
    if root is None:
        raise Malformed("the page is empty")
    return root


_DEEPEST = 250
"""Elements within elements of which lxml reads no more (256), less what it puts around a page itself."""

_LOST = frozenset(
    (
        etree.ErrorTypes.ERR_TAG_NOT_FINISHED,
        etree.ErrorTypes.ERR_GT_REQUIRED,
        etree.ErrorTypes.ERR_LTSLASH_REQUIRED,
        etree.ErrorTypes.ERR_ATTRIBUTE_NOT_FINISHED,
        etree.ErrorTypes.ERR_CDATA_NOT_FINISHED,
        etree.ErrorTypes.ERR_COMMENT_NOT_FINISHED,
        etree.ErrorTypes.ERR_PI_NOT_FINISHED,
    )
)
"""What libxml2 says of an answer that ends early; other mistakes, like a bare ``&``, cost no rows."""

_LIMITS = frozenset((etree.ErrorTypes.ERR_ENTITY_LOOP, 114))
"""What it says where its own limits end the reading (114: no name for it in older ones)."""


def _html_damage(root: Any, _body: bytes) -> Damage:
    return "deep" if _ends_deep(root) else ""


def _ends_deep(root: Any) -> bool:
    """Whether the last element lies as deep as lxml reads: it stops there, and the rest of a page is gone."""
    depth, last = 0, root
    while last is not None and depth < _DEEPEST:
        depth, last = depth + 1, next(last.iterchildren(etree.Element, reversed=True), None)
    return last is not None


def _xml_parse(body: bytes) -> Any:
    if not body:  # parsel takes it for a missing argument
        raise Malformed("the answer is empty")
    # huge_tree off: lxml's own limits on depth and entities hold against hostile answers.
    root = Selector(body=body, encoding="utf-8", type="xml", huge_tree=False).root
    if root is None:
        raise Malformed("the answer is empty")
    return root


def _xml_damage(root: Any, body: bytes) -> Damage:
    # The parser of this answer alone, and what it found wrong with it.
    found = {entry.type for entry in root.getroottree().parser.error_log}
    if not found:
        return ""
    if found & _LIMITS or _ends_deep(root):
        return "deep"
    # The log keeps the first mistakes only, so the end of the root is looked for too.
    named = f"{root.prefix}:" if root.prefix else ""
    end = f"</{named}{etree.QName(root).localname}".encode()
    ended = end in body or body.rstrip().endswith(b"/>")
    return "cut" if found & _LOST or not ended else ""


def _xpath_find(selector: str) -> Find:
    try:
        compiled = etree.XPath(selector, smart_strings=False)
        compiled(etree.Element("x"))  # unknown prefixes and functions only show when it runs
    except etree.XPathError as error:
        raise ValueError(f"not an XPath expression: {selector!r}") from error

    def find(node: Any) -> Iterable[Any]:
        try:
            found = compiled(node)
        except (etree.XPathError, TypeError, UnicodeError) as error:
            # TypeError: the rows are texts, not elements. UnicodeError: a lone surrogate in XML.
            raise Malformed(f"XPath {selector!r} failed: {error}") from error
        return found if isinstance(found, list) else [found]

    return find


def _xpath_find_first(selector: str) -> Callable[[Any], Any]:
    find = _xpath_find(selector if selector else ".")
    plain = _PLAIN_PATH.fullmatch(selector)
    if plain is not None:
        return _first_descendant(plain["tag"], plain["name"], plain["value"], below=plain["here"] == ".")
    return lambda node: next(iter(find(node)), None)


def _first_descendant(tag: str, name: str | None, value: str | None, *, below: bool) -> Callable[[Any], Any]:
    """What ``.//tag[@name='value']`` finds first. XPath collects every match before it gives one."""

    def find_first(node: Any) -> Any:
        if not isinstance(node, etree._Element):  # noqa: SLF001  # lxml names its element class so
            raise Malformed(f"there is no {tag} in a text")
        elements = node.iterdescendants(tag) if below else node.getroottree().iter(tag)
        return next((found for found in elements if name is None or found.get(name) == value), None)

    return find_first


def _xpath_read(attribute: str) -> Read:
    def read(found: Any) -> str:
        if isinstance(found, str):
            return squeeze(found)
        if not isinstance(found, etree._Element):  # noqa: SLF001  # lxml names its element class so
            return _plain(found)
        try:
            if attribute:
                return str(found.get(attribute, ""))
            return squeeze(etree.tostring(found, method="text", encoding="unicode", with_tail=False))
        except UnicodeError as error:
            raise Malformed("the answer holds a lone surrogate") from error

    return read


def _xpath_nesting(found: list[Any]) -> int:
    elements = [one for one in found if isinstance(one, etree._Element)]  # noqa: SLF001  # lxml names it so
    return _nesting(elements, lambda element: element.getparent(), lambda element: element)


# JSON


def _json_parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the answer is not JSON: {error}") from error


def _json_value(selector: str) -> Callable[[Any], Any]:
    try:
        expression = jmespath.compile(selector if selector else "@")
    except jmespath.exceptions.JMESPathError as error:
        raise ValueError(f"not a JMESPath expression: {selector!r}") from error
    names = _plain_names(expression.parsed)
    if names is None:
        return _json_search(expression, selector)
    if len(names) == 1:
        only = names[0]
        return lambda value: value.get(only) if isinstance(value, dict) else None

    def walk(value: Any) -> Any:
        for name in names:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return walk


def _json_search(expression: Any, selector: str) -> Callable[[Any], Any]:
    with suppress(jmespath.exceptions.JMESPathTypeError, jmespath.exceptions.ArityError):
        try:
            expression.search(None)
        except jmespath.exceptions.UnknownFunctionError as error:
            raise ValueError(f"not a JMESPath expression: {selector!r} ({error})") from error

    def search(value: Any) -> Any:
        # A function that gets nothing, or the wrong type, finds nothing: the field is missing.
        with suppress(jmespath.exceptions.JMESPathError):
            return expression.search(value)
        return None

    return search


def _plain_names(parsed: dict[str, Any]) -> list[str] | None:
    """The names of ``a.b.c``, which dictionaries answer at a tenth of the interpreter's cost."""
    if parsed["type"] == "field":
        return [parsed["value"]]
    if parsed["type"] != "subexpression":
        return None
    names: list[str] = []
    for child in parsed["children"]:
        inner = _plain_names(child)
        if inner is None:
            return None
        names.extend(inner)
    return names


def _json_find(selector: str) -> Find:
    value_of = _json_value(selector)

    def find(value: Any) -> Iterable[Any]:
        found = value_of(value)
        return found if isinstance(found, list) else [] if found is None else [found]

    return find


def _json_find_first(selector: str) -> Callable[[Any], Any]:
    value_of = _json_value(selector)

    def find_first(value: Any) -> Any:
        found = value_of(value)
        return (found[0] if found else None) if isinstance(found, list) else found

    return find_first


def _json_read(attribute: str) -> Read:
    if attribute:
        raise ValueError("an attribute has no meaning in JSON; name it in select")

    def read(found: Any) -> str:
        if isinstance(found, str):
            return squeeze(found)
        if found is None or isinstance(found, dict | list):
            return ""
        return _plain(found)

    return read


LANGUAGES = {
    "css": Language(_css_parse, _css_find, _css_find_first, _css_read, _css_nesting),
    "xpath": Language(_html_parse, _xpath_find, _xpath_find_first, _xpath_read, _xpath_nesting, _html_damage),
    "xml": Language(_xml_parse, _xpath_find, _xpath_find_first, _xpath_read, _xpath_nesting, _xml_damage),
    "json": Language(_json_parse, _json_find, _json_find_first, _json_read),
}
