"""XPath over HTML and XML on lxml, with parsel to read XML safely."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from lxml import etree
from parsel import Selector

from stages.records import Malformed
from stages.rule_language import Damage, Find, Language, Read, nesting, plain, squeeze

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
            return plain(found)
        try:
            if attribute:
                return str(found.get(attribute, ""))
            return squeeze(etree.tostring(found, method="text", encoding="unicode", with_tail=False))
        except UnicodeError as error:
            raise Malformed("the answer holds a lone surrogate") from error

    return read


def _xpath_nesting(found: list[Any]) -> int:
    elements = [one for one in found if isinstance(one, etree._Element)]  # noqa: SLF001  # lxml names it so
    return nesting(elements, lambda element: element.getparent(), lambda element: element)


XPATH = Language(_html_parse, _xpath_find, _xpath_find_first, _xpath_read, _xpath_nesting, _html_damage)

XML = Language(_xml_parse, _xpath_find, _xpath_find_first, _xpath_read, _xpath_nesting, _xml_damage)
