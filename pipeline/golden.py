"""Golden answers: recorded answers of an engine beside the rows that its source file must read from them.

A case is two files in a source's folder: the answer's body (``full.json``, ``.html``, ``.xml``) and
``full.expected.json`` with the rest of the answer and what must come of it.
"""

from __future__ import annotations

from importlib.resources.abc import Traversable
from typing import Any

import msgspec

from pipeline.source_files import LoadedSource
from stages.extract import domain
from stages.fetch import Done, Follow, Judgement, judge_response, plan_request
from stages.records import Batch, Malformed, Response, Result, Task

CONTENT_TYPES = {
    "json": "application/json",
    "html": "text/html; charset=utf-8",
    "xml": "application/xml",
}
_EXPECTED = ".expected.json"


class Answered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer around its body: the status, and headers beside the content type."""

    status: int = 200
    headers: dict[str, str] = {}


class ExpectedResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row as a file of expected rows has it. A domain that is left out is the URL's host."""

    rank: int
    title: str = ""
    url: str = ""
    snippet: str = ""
    kind: str = "organic"
    domain: str | None = None


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must come of an answer.

    ``status`` is ``ok``, ``failed``, ``refused``, ``retry`` (it is asked again) or ``follow`` (a
    redirect). ``page`` and ``locale`` are those of the question.
    """

    status: str
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
    """The cases of a source by name; none where it has no folder."""
    if not loaded.golden.is_dir():
        return []
    bodies: dict[str, Traversable] = {}
    expected: dict[str, Traversable] = {}
    for entry in loaded.golden.iterdir():
        if entry.name.endswith(_EXPECTED):
            expected[entry.name.removesuffix(_EXPECTED)] = entry
        elif entry.name.rpartition(".")[2] in CONTENT_TYPES:
            bodies[entry.name.rpartition(".")[0]] = entry
    return [Case(name, bodies.get(name), expected.get(name)) for name in sorted({*bodies, *expected})]


def check_case(loaded: LoadedSource, case: Case) -> str:
    """What is wrong with a case; empty where the source reads from it what it must."""
    if case.body is None or case.expected is None:
        missing = "answer (.json, .html or .xml)" if case.body is None else f"{case.name}{_EXPECTED}"
        return f"there is no {missing} beside it"
    try:
        expected = msgspec.json.decode(case.expected.read_bytes(), type=Expected)
        judged = _judge(loaded, case.body, expected)
    except (msgspec.DecodeError, Malformed) as error:
        return f"{case.expected.name}: {error}"
    return _difference(expected, judged)


def _judge(loaded: LoadedSource, body: Traversable, expected: Expected) -> Judgement:
    spec = loaded.source.spec
    task = Task("golden", expected.page)
    locale = expected.locale if expected.locale is not None else spec.default_locale
    batch = Batch("golden", "1970-01-01", 0, 1, spec.name, locale, "desktop", (task,))
    url = plan_request(task, batch, loaded.source, "golden").url
    headers = {"content-type": CONTENT_TYPES[body.name.rpartition(".")[2]]}
    headers |= {name.lower(): value for name, value in expected.http.headers.items()}
    response = Response(expected.http.status, headers, body.read_bytes(), url)
    return judge_response(task, loaded.source, loaded.extractor, response, now=0.0)


def _difference(expected: Expected, judged: Judgement) -> str:
    """The first thing that is not as expected, in words."""
    status = judged.status if isinstance(judged, Done) else type(judged).__name__.lower()
    reason = "" if isinstance(judged, Follow) else judged.reason
    if (status, reason) != (expected.status, expected.reason):
        return f"expected {_words(expected.status, expected.reason)}, got {_words(status, reason)}"
    if not isinstance(judged, Done):
        return ""
    if judged.total != expected.total:
        return f"total: expected {expected.total}, got {judged.total}"
    for at, (want, got) in enumerate(zip(expected.results, judged.results, strict=False)):
        for name, value in _fields(want).items():
            if getattr(got, name) != value:
                return f"results[{at}].{name}: expected {value!r}, got {getattr(got, name)!r}"
    if len(expected.results) != len(judged.results):
        return f"expected {len(expected.results)} results, got {len(judged.results)}"
    return ""


def _fields(row: ExpectedResult) -> dict[str, Any]:
    named = domain(row.url) if row.domain is None else row.domain
    return msgspec.structs.asdict(Result(row.rank, row.kind, row.title, row.url, named, row.snippet))


def _words(status: str, reason: str) -> str:
    return f"{status} ({reason})" if reason else status
