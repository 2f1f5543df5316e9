"""What must hold of a source file: each mistake is refused with the path of its field."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import orjson

from stages.hosts import place_named
from stages.quota import read_resets
from stages.run import canonical_locale
from stages.source_spec import (
    FIELDS,
    KINDS,
    TRANSFORMS,
    AnswerSpec,
    FieldRule,
    Limits,
    Paging,
    Politeness,
    SourceError,
    SourceSpec,
)
from stages.template import SLOTS, Template, fill, mask_secrets

LONGEST = 366 * 86_400.0
"""Seconds of the longest rest, and of the longest wait for a closed source."""

LONGEST_REQUEST = 3_600.0
"""Seconds of the longest request."""

MOST_ON_A_PAGE = 10_000
MOST_PAGES = 10_000

OURS = ("user-agent", "host", "content-length", "transfer-encoding", "connection")
"""Headers that no file replaces: they say who asks, and where a request ends."""

_BLANKS = frozenset(map(chr, (*range(0x21), 0x7F)))

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def check_spec(spec: SourceSpec) -> None:
    """What types cannot say: ranges, names, and that a keyword stays in its slot."""
    need(_NAME.fullmatch(spec.name), "name", "lower-case letters, digits and _, a letter first, at most 40")
    need(not set(spec.base_url) & _BLANKS, "base_url", "an address without white space")
    need(
        spec.request.url.startswith("{base_url}/"),
        "request.url",
        "{base_url}/ first: a keyword names no host",
    )
    sendable = spec.request.url.isascii() and spec.request.url.isprintable() and " " not in spec.request.url
    need(
        sendable, "request.url", "printable ASCII without spaces; anything else escaped, as in %20 and %C3%BC"
    )
    for at, locale in enumerate(spec.locales):
        need(canonical_locale(locale) == locale, f"locales[{at}]", "a locale as in en or en-US")
    has_default = spec.default_locale in spec.locales if spec.locales else True
    need(has_default, "default_locale", "one of the locales")
    _check_pace(spec.politeness)
    _check_paging(spec.paging)
    _check_limits(spec.limits)
    _check_answer(spec.answer)


def _check_pace(pace: Politeness) -> None:
    need(0 < pace.rate <= 1_000_000, "politeness.rate", "above 0 requests a second")
    need(1 <= pace.burst <= 10_000, "politeness.burst", "1 to 10,000")
    need(1 <= pace.concurrency <= 1_000, "politeness.concurrency", "1 to 1,000")
    need(0 < pace.rest <= LONGEST, "politeness.rest", "above 0 seconds, a year at most")
    in_order = pace.rest <= pace.max_rest <= LONGEST
    need(in_order, "politeness.max_rest", f"at least the rest, {pace.rest:g} seconds, and a year at most")
    need(0 <= pace.max_closed <= LONGEST, "politeness.max_closed", "0 or more seconds, a year at most")
    _check_quota(pace)


def _check_paging(paging: Paging) -> None:
    """Together they keep every counted rank within what a column of the table holds."""
    need(1 <= paging.size <= MOST_ON_A_PAGE, "paging.size", f"1 to {MOST_ON_A_PAGE:,} results a page")
    need(1 <= paging.most <= MOST_PAGES, "paging.most", f"1 to {MOST_PAGES:,} pages")
    need(0 <= paging.first <= MOST_PAGES, "paging.first", f"0 to {MOST_PAGES:,}: 0 or 1 for most engines")


def _check_limits(limits: Limits) -> None:
    need(0 < limits.timeout <= LONGEST_REQUEST, "limits.timeout", "above 0 seconds, an hour at most")
    need(1_000 <= limits.bytes <= 100_000_000, "limits.bytes", "1 kB to 100 MB")
    need(0 <= limits.redirects <= 5, "limits.redirects", "0 to 5")
    need(1 <= limits.attempts <= 10, "limits.attempts", "1 to 10")
    need(1 <= limits.refusals <= 10, "limits.refusals", "1 to 10")


def _check_answer(answer: AnswerSpec) -> None:
    need(answer.results, "answer.results", "at least one set of rows")
    for at, rules in enumerate(answer.results):
        path = f"answer.results[{at}]"
        need(rules.kind in KINDS, f"{path}.kind", f"one of {', '.join(KINDS)}")
        need("title" in rules.fields or "url" in rules.fields, f"{path}.fields", "a title or a url")
        for name, rule in rules.fields.items():
            need(name in FIELDS, f"{path}.fields.{name}", f"one of {', '.join(FIELDS)}")
            _check_transforms(rule, f"{path}.fields.{name}")
    _check_transforms(answer.total, "answer.total")
    _check_marks(answer)


def _check_marks(answer: AnswerSpec) -> None:
    for name, marks in (("empty", answer.empty), ("refused", answer.refused)):
        for at, status in enumerate(marks.status):
            # 200 is what answers with rows have: there the selectors and texts decide.
            known = 100 <= status <= 599 and status != 200
            need(known, f"answer.{name}.status[{at}]", "an HTTP status of 100 to 599 that is not 200")
    need(not answer.failed.status, "answer.failed.status", "none: errors have statuses of their own")


def check_host(host: str, path: str, spec: SourceSpec) -> None:
    """What a host says of itself when the file is read; where names lead shows when they are connected to."""
    try:
        named = urlsplit(f"//{host}").hostname
    except ValueError:
        named = None
    need(named and not set(host) & ({*"/@?#\\"} | _BLANKS), path, "a host, with its port where it has one")
    place = place_named(named if named is not None else "")
    need(place != "closed", path, "no link-local, metadata or reserved address, and no number for one")
    need(place != "private" or spec.private_hosts, "private_hosts", f"true: {host} is in a private network")


def _check_quota(pace: Politeness) -> None:
    need(0 <= pace.quota <= 1_000_000_000, "politeness.quota", "0 or more requests a day")
    try:
        read_resets(pace.quota_resets)
    except ValueError as error:
        expected = "the engine's midnight in UTC: HH:MM, or HH:MM-HH:MM of 12 hours at most"
        raise SourceError(f"Expected {expected} ({error}) - at `$.politeness.quota_resets`") from error


def check_headers(headers: dict[str, str], secret: dict[str, str], bases: dict[str, str]) -> None:
    """Headers that are plain text, are not Serpline's own, and carry a secret only where nobody listens."""
    for name, value in headers.items():
        need(_HEADER.fullmatch(name), f"request.headers.{name}", "the name of a header")
        own = "another header: this one says who asks and where a request ends, and is Serpline's own"
        need(name.lower() not in OURS, f"request.headers.{name}", own)
        rest = mask_secrets(value) if name in secret else value
        plain = "{" not in rest and "}" not in rest and rest.isprintable()
        need(plain, f"request.headers.{name}", "plain text, with no slot but {secret:NAME}")
    for base in bases.values() if secret else ():
        parts = urlsplit(base)
        safe = parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")
        need(safe, "base_url", "https: a secret does not travel in the open")


def check_keyword(url: Template, body: Template | None) -> None:
    """A keyword that stands in one place, where it can change no path."""
    slots = (*url.slots, *(body.slots if body is not None else ()))
    need(slots.count("keyword") == 1, "request", "{keyword} exactly once, in url or body")
    if "keyword" in url.slots:
        # In the path a keyword like ".." would lead elsewhere, and no escape of dots helps.
        before = "".join(url.texts[: url.slots.index("keyword") + 1])
        need("?" in before and "#" not in before, "request.url", "{keyword} behind the ?")


def check_json(body: Template) -> None:
    """Whether the body is JSON once its slots are filled, with the keyword inside a string."""
    samples = dict.fromkeys(SLOTS, "1") | {"keyword": "a keyword"}
    try:
        orjson.loads(fill(body, samples, "json"))
    except orjson.JSONDecodeError as error:
        expected = "JSON, with {{ and }} for its own braces and {keyword} in a string"
        raise SourceError(f"Expected {expected} ({error}) - at `$.request.body`") from error


def _check_transforms(rule: str | FieldRule | None, path: str) -> None:
    if not isinstance(rule, FieldRule):
        return
    for transform in rule.transforms:
        name, _, argument = transform.partition(":")
        need(name in TRANSFORMS, f"{path}.transforms", f"each one of {', '.join(TRANSFORMS)}")
        need(
            argument or name not in ("redirect", "regex", "link"), f"{path}.transforms", f"{name}:<argument>"
        )
        if name == "regex":
            try:
                groups = re.compile(argument).groups
            except re.error as error:
                raise SourceError(f"a regular expression ({error}) - at `$.{path}.transforms`") from error
            need(groups == 1, f"{path}.transforms", "a regular expression with one group")


def need(holds: object, path: str, expected: str) -> None:
    """Raises ``SourceError`` with the path of the field where something does not hold."""
    if not holds:
        raise SourceError(f"Expected {expected} - at `$.{path}`")
