"""JSON paths: JMESPath on orjson's objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import jmespath
import orjson

from stages.records import Malformed
from stages.rule_language import Find, Language, Read, plain, squeeze


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
        return plain(found)

    return read


JSON = Language(_json_parse, _json_find, _json_find_first, _json_read)
