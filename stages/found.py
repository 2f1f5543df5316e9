"""Found: which of a source's rules find nothing in an answer, for whoever writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stages.body import inflate, to_utf8
from stages.extract import Extractor
from stages.records import Malformed, Response
from stages.source import FieldRule, Source


def nothing_found(source: Source, extractor: Extractor, response: Response) -> list[str]:
    """A line for each rule that finds nothing in the answer, with its path and selector."""
    answer = source.spec.answer
    try:
        body = inflate(response.body, response.headers.get("content-encoding", ""), source.spec.limits.bytes)
        text = to_utf8(body, response.headers.get("content-type", ""))
        root = extractor.language.parse(text)
        lines, any_row = _rows(source, extractor, root, response.url)
    except Malformed as error:
        return [f"nothing can be read with language = {answer.language!r}: {error}"]
    if extractor.total is not None and not extractor.total(root, response.url):
        lines.append(f"answer.total finds nothing: {_selector(answer.total)}")
    if not any_row and not extractor.empty(root, text):
        lines.append("answer.empty finds none of its marks: so «nothing found» is not what this says")
    return lines


def _rows(source: Source, extractor: Extractor, root: Any, url: str) -> tuple[list[str], bool]:
    """The lines of all sets of rows, and whether any of them has a row."""
    lines: list[str] = []
    any_row = False
    for at, (rules, (_, find, fields)) in enumerate(
        zip(source.spec.answer.results, extractor.rows, strict=True)
    ):
        path = f"answer.results[{at}]"
        rows = list(find(root))
        any_row = any_row or bool(rows)
        if not rows:
            lines.append(f"{path}.rows finds nothing: {rules.rows!r}")
        for name, value in fields.items() if rows else ():
            missing = len(rows) - _count(rows, value, url)
            if missing:
                where = f"{path}.fields.{name}"
                lines.append(
                    f"{where} finds nothing in {missing} of {len(rows)} rows: {_selector(rules.fields[name])}"
                )
    return lines, any_row


def _count(rows: list[Any], value: Callable[[Any, str], str], url: str) -> int:
    return sum(bool(value(row, url)) for row in rows)


def _selector(rule: str | FieldRule | None) -> str:
    if isinstance(rule, FieldRule):
        return f"{rule.select!r}" + (f", attribute {rule.attribute!r}" if rule.attribute else "")
    return repr(rule)
