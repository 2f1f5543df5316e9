"""Golden answers: recorded answers of an engine beside the rows that its source file must read from them.

A case is two files in a source's folder: the answer's body (``full.json``, ``.html``, ``.xml``) and
``full.expected.json`` with the rest of the answer and what must come of it.
"""

from __future__ import annotations

from importlib.resources.abc import Traversable
from typing import Literal

import msgspec

from pipeline.golden_difference import row_differences
from pipeline.source_files import LoadedSource
from stages.extract import domain
from stages.fetch import Done, Follow, Judgement, judge_response, plan_request
from stages.found import nothing_found
from stages.records import Batch, Malformed, Response, Result, Task

CONTENT_TYPES = {
    "json": "application/json",
    "html": "text/html; charset=utf-8",
    "xml": "application/xml",
}
EXPECTED = ".expected.json"
"""How the name of a file ends that says what must come of an answer."""


class Answered(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The answer around its body: the status, and headers beside the content type."""

    status: int = 200
    headers: dict[str, str] = {}


class ExpectedResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A row as a file of expected rows has it. A domain that is left out is the URL's host."""

    rank: int
    title: str = ""
    url: str = ""
    snippet: str = ""
    kind: str = "organic"
    domain: str | None = None


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What must come of an answer.

    ``status`` is ``ok``, ``failed``, ``refused``, ``retry`` (it is asked again) or ``follow`` (a
    redirect). ``page`` and ``locale`` are those of the question.
    """

    status: Literal["ok", "failed", "refused", "retry", "follow"]
    reason: str = ""
    total: int | None = None
    results: tuple[ExpectedResult, ...] = ()
    http: Answered = Answered()
    page: int = 1
    locale: str | None = None


class Case(msgspec.Struct, frozen=True):
    """One golden answer: its name, its two files; None for one that is missing."""

    name: str
    body: Traversable | None
    expected: Traversable | None


def golden_cases(loaded: LoadedSource) -> list[Case]:
    """The cases of a source by name; none where it has no folder.

    A file of another kind is the answer of a case all the same: one that cannot be checked.
    """
    if not loaded.golden.is_dir():
        return []
    bodies: dict[str, Traversable] = {}
    expected: dict[str, Traversable] = {}
    for entry in loaded.golden.iterdir():
        if entry.name.endswith(EXPECTED):
            expected[entry.name.removesuffix(EXPECTED)] = entry
        elif not entry.name.startswith("."):
            bodies[entry.name.rpartition(".")[0] or entry.name] = entry
    return [Case(name, bodies.get(name), expected.get(name)) for name in sorted({*bodies, *expected})]


def check_case(loaded: LoadedSource, case: Case) -> list[str]:
    """Everything that is wrong with a case, a line each; none where the source reads what it must."""
    if case.body is None or case.expected is None:
        missing = "answer (.json, .html or .xml)" if case.body is None else f"{case.name}{EXPECTED}"
        return [f"there is no {missing} beside it"]
    if case.body.name.rpartition(".")[2] not in CONTENT_TYPES:
        return [f"{case.body.name} is no answer: its name must end in .json, .html or .xml"]
    try:
        expected = msgspec.json.decode(case.expected.read_bytes(), type=Expected)
        batch = question(loaded, expected.page, expected.locale)
        response = recorded(loaded, case.body, expected.http, batch)
        judged = judge_response(batch.tasks[0], loaded.source, loaded.extractor, response, now=0.0)
    except (msgspec.DecodeError, Malformed) as error:
        return [f"{case.expected.name}: {error}"]
    lines = _differences(expected, judged)
    if lines and isinstance(judged, Done) and judged.reason == "unreadable":
        lines += nothing_found(loaded.source, loaded.extractor, response)
    return lines


def question(loaded: LoadedSource, page: int, locale: str | None) -> Batch:
    """The question that a case answers."""
    spec = loaded.source.spec
    locale = locale if locale is not None else spec.default_locale
    return Batch("golden", "1970-01-01", 0, 1, spec.name, locale, "desktop", (Task("golden", page),))


def recorded(loaded: LoadedSource, body: Traversable, http: Answered, batch: Batch) -> Response:
    """The answer as the engine gave it. Raises ``Malformed`` for a locale that the source has not."""
    url = plan_request(batch.tasks[0], batch, loaded.source, "golden").url
    headers = {"content-type": CONTENT_TYPES[body.name.rpartition(".")[2]]}
    headers |= {name.lower(): value for name, value in http.headers.items()}
    return Response(http.status, headers, body.read_bytes(), url)


def status_of(judged: Judgement) -> tuple[str, str]:
    """What a case calls a judgement: its status and reason."""
    status = judged.status if isinstance(judged, Done) else type(judged).__name__.lower()
    return status, "" if isinstance(judged, Follow) else judged.reason


def _differences(expected: Expected, judged: Judgement) -> list[str]:
    lines = []
    got = status_of(judged)
    if got != (expected.status, expected.reason):
        lines.append(f"expected {_words(expected.status, expected.reason)}, got {_words(*got)}")
    if not isinstance(judged, Done) or judged.status != expected.status:
        return lines
    if judged.total != expected.total:
        lines.append(f"total: expected {expected.total}, got {judged.total}")
    return lines + row_differences([_row(row) for row in expected.results], judged.results)


def _row(row: ExpectedResult) -> Result:
    named = domain(row.url) if row.domain is None else row.domain
    return Result(row.rank, row.kind, row.title, row.url, named, row.snippet)


def _words(status: str, reason: str) -> str:
    return f"{status} ({reason})" if reason else status
