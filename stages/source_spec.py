"""The tables of a source file, as TOML has them; what no type can say of them is in ``source_checks``."""

from __future__ import annotations

from typing import Literal

import msgspec

KINDS = ("organic", "ad", "answer", "question", "news", "image", "video", "local")
TRANSFORMS = ("absolute", "redirect", "number", "regex", "join", "first", "text", "link", "strip")
FIELDS = ("title", "url", "snippet", "domain", "rank")


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
