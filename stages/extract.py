"""Extract: the bytes of an answer, a source's compiled rules, and out come its results."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote, urljoin

import msgspec

from stages.css_rules import html_text
from stages.records import Malformed, Result
from stages.rule_language import Damage, Language
from stages.rules import LANGUAGES
from stages.source import AnswerSpec, FieldRule, Marks, ResultRules, SourceError

_NUMBER = re.compile(r"\d[\d.,'\s\u2019\u066c]*")  # \s has the narrow and unbreakable spaces
_NOT_DIGITS = re.compile(r"\D")

MAX_RANK = 2**31 - 1
MAX_TOTAL = 2**63 - 1
"""What the columns of table ``pages`` hold."""

MAX_ROWS = 10_000
"""Rows of one kind in one answer; engines that give a thousand are generous."""

MAX_NESTED = 10
"""Rows within each other in an answer that has many."""

SMALL = 50_000_000
"""Rows times bytes of an answer that needs no look at how its rows nest: they may as they like."""

Value = Callable[[Any, str], str]
"""One field of one row: takes the row and the page's URL, gives the text (empty where there is none)."""


class Extracted(msgspec.Struct, frozen=True):
    """What an answer says. Its marks are only looked for where there are no results.

    ``damage`` is what is missing of the answer, whatever was read of the rest.
    """

    results: tuple[Result, ...]
    total: int | None
    refused: bool = False
    failed: bool = False
    empty: bool = False
    damage: Damage = ""


class Extractor(msgspec.Struct, frozen=True):
    """A source's rules, compiled."""

    language: Language
    rows: tuple[tuple[str, Callable[[Any], Any], dict[str, Value]], ...]
    total: Value | None
    refused: Callable[[Any, bytes], bool]
    failed: Callable[[Any, bytes], bool]
    empty: Callable[[Any, bytes], bool]


def compile_rules(answer: AnswerSpec) -> Extractor:
    """Compile a source's rules once. Raises ``SourceError`` with the path of the rule that is wrong."""
    language = LANGUAGES[answer.language]
    return Extractor(
        language=language,
        rows=tuple(
            (
                rules.kind,
                _at(f"answer.results[{at}].rows", language.find, rules.rows),
                _fields(language, rules, at),
            )
            for at, rules in enumerate(answer.results)
        ),
        total=_value(language, answer.total, "answer.total") if answer.total is not None else None,
        refused=_marked(language, answer.refused, "answer.refused"),
        failed=_marked(language, answer.failed, "answer.failed"),
        empty=_marked(language, answer.empty, "answer.empty"),
    )


def extract(extractor: Extractor, body: bytes, url: str, first_rank: int) -> Extracted:
    """Read an answer in UTF-8 that came from ``url``; its first result has rank ``first_rank``.

    Raises ``Malformed`` where the bytes cannot be parsed in the source's language.
    """
    root = extractor.language.parse(body)
    results: list[Result] = []
    for kind, find, fields in extractor.rows:
        rank = first_rank
        for row in _rows(extractor.language, find, root, body):
            values = {name: value(row, url) for name, value in fields.items()}
            link = values.get("url", "")
            title = values.get("title", "")
            if not link and not title:
                continue
            link = link if not link or link.startswith(("http://", "https://")) else _joined(url, link)
            told = _whole(values.get("rank", ""), MAX_RANK)
            results.append(
                Result(
                    told if told is not None else rank,
                    kind,
                    title,
                    link,
                    values.get("domain") or domain(link),
                    values.get("snippet", ""),
                )
            )
            rank += 1
    total = _whole(extractor.total(root, url), MAX_TOTAL) if extractor.total is not None else None
    damage = extractor.language.damage(root, body)
    if results:
        return Extracted(tuple(results), total, damage=damage)
    return Extracted(
        (),
        total,
        refused=extractor.refused(root, body),
        failed=extractor.failed(root, body),
        empty=extractor.empty(root, body),
        damage=damage,
    )


def _rows(language: Language, find: Callable[[Any], Any], root: Any, body: bytes) -> list[Any]:
    """The rows of one kind. Raises ``Malformed`` for more than a page has, or for rows within rows.

    Reading a row takes as long as it is large, so what nests them would make it take the square of a page.
    """
    rows = list(find(root))
    if len(rows) > MAX_ROWS:
        raise Malformed(f"the answer has {len(rows):,} rows")
    if len(rows) * len(body) > SMALL and language.nesting(rows) > MAX_NESTED:
        raise Malformed("the answer has rows within rows")
    return rows


def shows_refusal(extractor: Extractor, body: bytes) -> bool:
    """Whether an answer in UTF-8 shows a mark of a refusal, though it be in no language of the source."""
    try:
        root = extractor.language.parse(body)
    except Malformed:
        root = None
    return extractor.refused(root, body)


def domain(url: str) -> str:
    """The host of an absolute URL in lower case, without user, port and a leading ``www.``."""
    _, found, rest = url.partition("://")
    if not found:
        return ""
    host = rest.split("/", 1)[0].split("?", 1)[0].split("#", 1)[0].rpartition("@")[2]
    if not host.startswith("["):
        host = host.split(":", 1)[0]
    return host.lower().removeprefix("www.")


def _whole(text: str, most: int) -> int | None:
    """The number that a text of digits says; None where it says none, or more than a column holds."""
    if not text.isdecimal() or len(text) > 100:
        return None
    number = int(text)
    return number if number <= most else None


def _joined(base: str, link: str) -> str:
    """A link made absolute; one that is no address at all stays as it is."""
    try:
        return urljoin(base, link)
    except ValueError:
        return link


def _fields(language: Language, rules: ResultRules, at: int) -> dict[str, Value]:
    return {
        name: _value(language, rule, f"answer.results[{at}].fields.{name}")
        for name, rule in rules.fields.items()
    }


def _value(language: Language, rule: str | FieldRule, path: str) -> Value:
    rule = FieldRule(rule) if isinstance(rule, str) else rule
    read = _at(path, language.read, rule.attribute)
    transforms = [_transform(text) for text in rule.transforms]
    if path == "answer.total" or path.endswith(".rank"):
        transforms.append(_number)
    if "join" in rule.transforms:
        find = _at(path, language.find, rule.select)

        def found_text(row: Any) -> str:
            return " ".join(text for found in find(row) if (text := read(found)))

    else:
        find_first = _at(path, language.find_first, rule.select)

        def found_text(row: Any) -> str:
            found = find_first(row)
            return "" if found is None else read(found)

    if not transforms:
        return lambda row, _url: found_text(row)

    def value(row: Any, url: str) -> str:
        text = found_text(row)
        for transform in transforms:
            text = transform(text, url)
        return text

    return value


def _transform(text: str) -> Callable[[str, str], str]:
    name, _, argument = text.partition(":")
    if name == "absolute":
        return lambda value, url: _joined(url, value) if value else ""
    if name == "redirect":
        return _redirect(argument)
    if name == "number":
        return _number
    if name == "regex":
        pattern = re.compile(argument)
        return lambda value, _url: (
            match[1] if (match := pattern.search(value)) and match[1] is not None else ""
        )
    if name == "strip":
        return lambda value, _url: value.strip(argument if argument else None)
    if name == "text":
        return lambda value, _url: html_text(value)
    if name == "link":
        # MediaWiki's way, and readable: spaces are underscores, and what a path may hold stays as it is.
        return lambda value, _url: (
            argument + quote(value.replace(" ", "_"), safe="/:@!$*(),;~") if value else ""
        )
    return lambda value, _url: value


def _redirect(parameter: str) -> Callable[[str, str], str]:
    """The target that a redirect link carries in a parameter; a link without it stays as it is."""
    marks = (f"?{parameter}=", f"&{parameter}=")

    def decode(value: str, _url: str) -> str:
        for mark in marks:
            _, found, rest = value.partition(mark)
            if found:
                return _unquoted(rest.split("&", 1)[0].split("#", 1)[0].replace("+", " "))
        return value

    return decode


def _unquoted(text: str) -> str:
    # What a link is full of first: the library's own way costs ten times as much.
    text = text.replace("%3A", ":").replace("%2F", "/")
    return unquote(text) if "%" in text else text


def _number(value: str, _url: str) -> str:
    match = _NUMBER.search(value)
    return _NOT_DIGITS.sub("", match[0]) if match is not None else ""


def _marked(language: Language, marks: Marks, path: str) -> Callable[[Any, bytes], bool]:
    selects = [_at(f"{path}.select", language.find_first, selector) for selector in marks.select]
    texts = [text.encode() for text in marks.text]

    def marked(root: Any, body: bytes) -> bool:
        if root is None or any(text in body for text in texts):
            return any(text in body for text in texts)
        # A selector's answer counts as found unless it is absent, false or blank.
        return any(
            found is not None and found is not False and found != ""
            for find in selects
            for found in (find(root),)
        )

    return marked


def _at(path: str, compile_one: Callable[[str], Any], text: str) -> Any:
    try:
        return compile_one(text)
    except ValueError as error:
        raise SourceError(f"Expected {error} - at `$.{path}`".replace("Expected not", "Not")) from error
