"""The source file: a search engine described in TOML, decoded, checked and ready to be used."""

from __future__ import annotations

import re
import tomllib
from hashlib import blake2b
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import orjson

from stages.hosts import place_named
from stages.quota import read_resets
from stages.records import Malformed
from stages.run import canonical_locale
from stages.template import SLOTS, Template, fill, mask_secrets, parse_template, secret_names

KINDS = ("organic", "ad", "answer", "news", "image", "video", "local")
TRANSFORMS = ("absolute", "redirect", "number", "regex", "join", "first", "text", "link", "strip")
FIELDS = ("title", "url", "snippet", "domain", "rank")

LONGEST = 366 * 86_400.0
"""Seconds of the longest rest, and of the longest wait for a closed source."""

LONGEST_REQUEST = 3_600.0
"""Seconds of the longest request."""

OURS = ("user-agent", "host", "content-length", "transfer-encoding", "connection")
"""Headers that no file replaces: they say who asks, and where a request ends."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class SourceError(ValueError):
    """A source file is wrong; the text names the field and what it should be."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; a misspelt field is an error, not a silence."""


class RequestSpec(_Strict, frozen=True):
    """How to ask. ``body_format`` decides how a keyword is escaped in ``body``.

    A header has no slot but ``{secret:NAME}``.
    """

    url: str
    method: Literal["GET", "POST"] = "GET"
    headers: dict[str, str] = {}
    body: str | None = None
    body_format: Literal["form", "json"] = "form"


class Paging(_Strict, frozen=True):
    """Results a page, the most pages that may be asked, and what the engine calls the first page."""

    size: int = 10
    most: int = 1
    first: int = 1


class Politeness(_Strict, frozen=True):
    """``rate`` in requests a second for the whole fleet, ``rest`` in seconds after a refusal that names none.

    ``max_rest`` bounds the doubling on refusals in a row, ``max_closed`` how long tasks wait for a
    source that stays closed before they end as refused. ``quota`` is requests a day (0: no quota), in days
    that begin at ``quota_resets`` in UTC: ``HH:MM``, or the span in which an engine's midnight may fall.
    ``robots`` says whether robots.txt decides what
    is asked: where nothing is said, it does for a page and not for an interface.
    """

    rate: float
    burst: int = 1
    concurrency: int = 2
    rest: float = 60.0
    max_rest: float = 86_400.0
    max_closed: float = 86_400.0
    quota: int = 0
    quota_resets: str = "00:00"
    robots: bool | None = None


class Limits(_Strict, frozen=True):
    """Bounds of one task: seconds a request, bytes of a body, redirects it follows.

    ``attempts`` is how many requests may fail, ``refusals`` how many may be refused.
    """

    timeout: float = 30.0
    bytes: int = 5_000_000
    redirects: int = 2
    attempts: int = 3
    refusals: int = 3


class FieldRule(_Strict, frozen=True):
    """Where a value stands: a selector, an attribute of what it finds (empty: its text), transforms."""

    select: str
    attribute: str = ""
    transforms: tuple[str, ...] = ()


class ResultRules(_Strict, frozen=True):
    """Rows of one kind and the fields in each."""

    rows: str
    fields: dict[str, str | FieldRule]
    kind: str = "organic"


class Marks(_Strict, frozen=True):
    """What a kind of answer is known by: any of these statuses, selectors or texts."""

    status: tuple[int, ...] = ()
    select: tuple[str, ...] = ()
    text: tuple[str, ...] = ()


class AnswerSpec(_Strict, frozen=True):
    """How to read the answer, all of it in one rule language.

    ``failed`` marks what the engine itself calls an error, in an answer that looks like a good one.
    """

    language: Literal["css", "xpath", "xml", "json"]
    results: tuple[ResultRules, ...]
    total: str | FieldRule | None = None
    empty: Marks = Marks()
    refused: Marks = Marks()
    failed: Marks = Marks()


class SourceSpec(_Strict, frozen=True, kw_only=True):
    """A whole source file. ``kind`` is ``page`` for a results page, ``api`` for an interface.

    ``private_hosts`` says that its hosts may be in a private network.
    """

    name: str
    kind: Literal["page", "api"]
    summary: str
    base_url: str
    allowed_hosts: tuple[str, ...] = ()
    private_hosts: bool = False
    locales: tuple[str, ...] = ()
    default_locale: str = "en-US"
    notes: str = ""
    request: RequestSpec
    paging: Paging = Paging()
    politeness: Politeness
    limits: Limits = Limits()
    answer: AnswerSpec


class Source(msgspec.Struct, frozen=True):
    """A checked source: its description, the hash of its file, its templates, the hosts it may ask.

    ``bases`` has the base address by locale where that has a slot, else one under the empty name;
    ``headers`` the plain ones, ``secret_headers`` those with slots for ``secrets``.
    """

    spec: SourceSpec
    hash: str
    url: Template
    body: Template | None
    hosts: frozenset[str]
    bases: dict[str, str]
    headers: dict[str, str]
    secret_headers: dict[str, str]
    secrets: tuple[str, ...]

    @property
    def obeys_robots(self) -> bool:
        """Whether robots.txt decides what is asked."""
        said = self.spec.politeness.robots
        return said if said is not None else self.spec.kind == "page"

    @property
    def name(self) -> str:
        """The source's name, as rows, queues and log lines have it."""
        return self.spec.name

    def base_for(self, locale: str) -> str:
        """The base address for a locale. Raises ``Malformed`` for one that the source has no host for."""
        base = self.bases.get("" if "" in self.bases else locale)
        if base is None:
            raise Malformed(f"source {self.name} has no locale {locale!r}")
        return base


def parse_source(text: str, *, base_url: str | None = None) -> Source:
    """Give the source that a TOML text describes; ``base_url`` replaces the file's own.

    Raises ``SourceError`` with the path of the field that is wrong.
    """
    try:
        values = tomllib.loads(text)
        spec = msgspec.convert(values, SourceSpec)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SourceError(str(error)) from error
    if base_url is not None:
        spec = msgspec.structs.replace(spec, base_url=base_url)
    _check(spec)
    body = spec.request.body
    try:
        bases = _bases(spec)
        url = parse_template(spec.request.url, "request.url")
        filled = parse_template(body, "request.body") if body is not None else None
    except ValueError as error:
        raise SourceError(str(error)) from error
    _check_keyword(url, filled)
    if filled is not None and spec.request.body_format == "json":
        _check_json(filled)
    headers = spec.request.headers
    secret_headers = {name: value for name, value in headers.items() if secret_names(value)}
    _check_headers(headers, secret_headers, bases)
    own = {urlsplit(base).netloc.lower() for base in bases.values()}
    for host in sorted(own):
        _check_host(host, "base_url", spec)
    for at, host in enumerate(spec.allowed_hosts):
        _check_host(host, f"allowed_hosts[{at}]", spec)
    return Source(
        spec=spec,
        hash=blake2b(text.encode(), digest_size=8).hexdigest(),
        url=url,
        body=filled,
        hosts=frozenset({*own, *(allowed.lower() for allowed in spec.allowed_hosts)}),
        bases=bases,
        headers={name: value for name, value in headers.items() if name not in secret_headers},
        secret_headers=secret_headers,
        secrets=tuple(sorted({name for value in secret_headers.values() for name in secret_names(value)})),
    )


def _check(spec: SourceSpec) -> None:
    """What types cannot say: ranges, names, and that a keyword stays in its slot."""
    _need(_NAME.fullmatch(spec.name), "name", "lower-case letters, digits and _, a letter first, at most 40")
    _need(
        spec.request.url.startswith("{base_url}/"),
        "request.url",
        "{base_url}/ first: a keyword names no host",
    )
    for at, locale in enumerate(spec.locales):
        _need(canonical_locale(locale) == locale, f"locales[{at}]", "a locale as in en or en-US")
    has_default = spec.default_locale in spec.locales if spec.locales else True
    _need(has_default, "default_locale", "one of the locales")
    pace = spec.politeness
    _need(0 < pace.rate <= 1_000_000, "politeness.rate", "above 0 requests a second")
    _need(1 <= pace.burst <= 10_000, "politeness.burst", "1 to 10,000")
    _need(1 <= pace.concurrency <= 1_000, "politeness.concurrency", "1 to 1,000")
    in_order = 0 < pace.rest <= pace.max_rest <= LONGEST
    _need(in_order, "politeness.rest", "above 0 and at most max_rest, and that at most a year of seconds")
    _need(0 <= pace.max_closed <= LONGEST, "politeness.max_closed", "0 or more seconds, a year at most")
    _check_quota(pace)
    _need(spec.paging.size >= 1 and spec.paging.most >= 1, "paging", "size and most of at least 1")
    limits = spec.limits
    _need(0 < limits.timeout <= LONGEST_REQUEST, "limits.timeout", "above 0 seconds, an hour at most")
    _need(1_000 <= limits.bytes <= 100_000_000, "limits.bytes", "1 kB to 100 MB")
    _need(0 <= limits.redirects <= 5, "limits.redirects", "0 to 5")
    _need(
        1 <= limits.attempts <= 10 and 1 <= limits.refusals <= 10,
        "limits",
        "attempts and refusals of 1 to 10",
    )
    _need(spec.answer.results, "answer.results", "at least one set of rows")
    for at, rules in enumerate(spec.answer.results):
        path = f"answer.results[{at}]"
        _need(rules.kind in KINDS, f"{path}.kind", f"one of {', '.join(KINDS)}")
        _need("title" in rules.fields or "url" in rules.fields, f"{path}.fields", "a title or a url")
        for name, rule in rules.fields.items():
            _need(name in FIELDS, f"{path}.fields.{name}", f"one of {', '.join(FIELDS)}")
            _check_transforms(rule, f"{path}.fields.{name}")
    _check_transforms(spec.answer.total, "answer.total")
    _check_marks(spec.answer)


def _check_marks(answer: AnswerSpec) -> None:
    for name, marks in (("empty", answer.empty), ("refused", answer.refused)):
        for status in marks.status:
            _need(100 <= status <= 599, f"answer.{name}.status", "HTTP statuses, 100 to 599")
    _need(
        not answer.failed.status, "answer.failed.status", "none: only answers with status 200 are looked at"
    )


def _bases(spec: SourceSpec) -> dict[str, str]:
    """The base address by locale, checked: the only slot is ``{language}``, of the locales in the file.

    So every host is known when the file is read, and no task can name another.
    """
    template = parse_template(spec.base_url, "base_url")
    _need(set(template.slots) <= {"language"}, "base_url", "no slot but {language}")
    _need(spec.locales or not template.slots, "locales", "its locales: base_url has a host for each")
    locales = spec.locales if template.slots else ("",)
    bases = {
        locale: fill(template, {"language": locale.partition("-")[0]}, "url").rstrip("/")
        for locale in locales
    }
    for base in bases.values():
        try:
            parts = urlsplit(base)
        except ValueError as error:
            expected = f"Expected an http(s) address with a host ({error})"
            raise SourceError(f"{expected} - at `$.base_url`") from error
        web = parts.scheme in ("http", "https") and parts.hostname
        _need(web, "base_url", "an http(s) address with a host")
        _need("@" not in parts.netloc, "base_url", "no user and password: addresses are stored")
    return bases


def _check_host(host: str, path: str, spec: SourceSpec) -> None:
    """What a host says of itself when the file is read; where names lead shows when they are connected to."""
    try:
        named = urlsplit(f"//{host}").hostname
    except ValueError:
        named = None
    _need(named and not set(host) & set("/@?#\\"), path, "a host, with its port where it has one")
    place = place_named(named if named is not None else "")
    _need(place != "closed", path, "no link-local, metadata or reserved address, and no number for one")
    _need(place != "private" or spec.private_hosts, "private_hosts", f"true: {host} is in a private network")


def _check_quota(pace: Politeness) -> None:
    _need(0 <= pace.quota <= 1_000_000_000, "politeness.quota", "0 or more requests a day")
    try:
        read_resets(pace.quota_resets)
    except ValueError as error:
        expected = "the engine's midnight in UTC: HH:MM, or HH:MM-HH:MM of 12 hours at most"
        raise SourceError(f"Expected {expected} ({error}) - at `$.politeness.quota_resets`") from error


def _check_headers(headers: dict[str, str], secret: dict[str, str], bases: dict[str, str]) -> None:
    for name, value in headers.items():
        _need(_HEADER.fullmatch(name), f"request.headers.{name}", "the name of a header")
        own = "another header: this one says who asks and where a request ends, and is Serpline's own"
        _need(name.lower() not in OURS, f"request.headers.{name}", own)
        rest = mask_secrets(value) if name in secret else value
        plain = "{" not in rest and "}" not in rest and rest.isprintable()
        _need(plain, f"request.headers.{name}", "plain text, with no slot but {secret:NAME}")
    for base in bases.values() if secret else ():
        parts = urlsplit(base)
        safe = parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")
        _need(safe, "base_url", "https: a secret does not travel in the open")


def _check_keyword(url: Template, body: Template | None) -> None:
    slots = (*url.slots, *(body.slots if body is not None else ()))
    _need(slots.count("keyword") == 1, "request", "{keyword} exactly once, in url or body")
    if "keyword" in url.slots:
        # In the path a keyword like ".." would lead elsewhere, and no escape of dots helps.
        before = "".join(url.texts[: url.slots.index("keyword") + 1])
        _need("?" in before and "#" not in before, "request.url", "{keyword} behind the ?")


def _check_json(body: Template) -> None:
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
        _need(name in TRANSFORMS, f"{path}.transforms", f"each one of {', '.join(TRANSFORMS)}")
        _need(
            argument or name not in ("redirect", "regex", "link"), f"{path}.transforms", f"{name}:<argument>"
        )
        if name == "regex":
            try:
                groups = re.compile(argument).groups
            except re.error as error:
                raise SourceError(f"a regular expression ({error}) - at `$.{path}.transforms`") from error
            _need(groups == 1, f"{path}.transforms", "a regular expression with one group")


def _need(holds: object, path: str, expected: str) -> None:
    if not holds:
        raise SourceError(f"Expected {expected} - at `$.{path}`")
