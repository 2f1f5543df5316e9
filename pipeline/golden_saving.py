"""An answer kept as a golden case: its body in UTF-8 without secrets, and what is read from it now."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from pipeline.errors import Misuse
from pipeline.golden import (
    CONTENT_TYPES,
    EXPECTED,
    Answered,
    Expected,
    ExpectedResult,
    question,
    recorded,
    status_of,
)
from pipeline.source_files import LoadedSource, read_secrets
from stages.body import inflate, to_utf8
from stages.echo import spellings, without_secrets
from stages.extract import domain
from stages.fetch import Done, judge_response
from stages.records import Batch, Malformed, Response, Result

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_TELLING = ("retry-after", "location")
"""Headers that a judgement goes by; others may tell who asked."""


def check_name(loaded: LoadedSource, name: str, own: Path | None) -> None:
    """Whether a case of this name can be written to the user's ``own`` folder. Raises ``Misuse``."""
    if not _NAME.fullmatch(name):
        raise Misuse(f"--save {name}: the name of a case is lower-case letters, digits, - and _")
    if own is None or loaded.golden != own / "golden" / loaded.source.name:
        raise Misuse(
            f"source {loaded.source.name} comes with Serpline: `serpline sources copy` gives you one of your "
            "own, which may have cases of its own"
        )
    folder = Path(str(loaded.golden))
    taken = sorted(path.name for path in folder.glob(f"{name}.*")) if folder.is_dir() else []
    if taken:
        raise Misuse(f"there is a {folder / taken[0]} already: take another name, or remove it")


def save_case(loaded: LoadedSource, name: str, answer: Response, batch: Batch) -> Path:
    """Write an answer and what is read from it into the source's golden folder; gives the body's path.

    Raises ``Misuse`` where no answer came, or none that can be kept.
    """
    text = _without_secrets(loaded, answer)
    folder = Path(str(loaded.golden))
    folder.mkdir(parents=True, exist_ok=True)
    body = folder / f"{name}.{_kind(loaded, answer)}"
    body.write_bytes(text)
    expected = _expected(loaded, body, answer, batch)
    written = msgspec.json.format(msgspec.json.encode(expected), indent=2)
    (folder / f"{name}{EXPECTED}").write_bytes(written + b"\n")
    return body


def _without_secrets(loaded: LoadedSource, answer: Response) -> bytes:
    if answer.failure or not answer.status:
        raise Misuse(f"no whole answer came ({answer.failure}): there is nothing to save")
    try:
        body = inflate(
            answer.body, answer.headers.get("content-encoding", ""), loaded.source.spec.limits.bytes
        )
    except Malformed as error:
        raise Misuse(f"this answer cannot be saved: {error}") from error
    # In one encoding first: a secret in another one would not be recognised.
    text = to_utf8(body, answer.headers.get("content-type", ""))
    forms = spellings(read_secrets(loaded.source).values())
    plain = Response(answer.status, {}, text, answer.url)
    return without_secrets(plain, forms, len(text) + 1).body


def _kind(loaded: LoadedSource, answer: Response) -> str:
    """How the name of the body ends: by what the engine says that it is, else by the rules' language."""
    said = answer.headers.get("content-type", "").lower()
    by_rules = {"json": "json", "xml": "xml"}.get(loaded.source.spec.answer.language, "html")
    return next((kind for kind in CONTENT_TYPES if kind in said.partition(";")[0]), by_rules)


def _expected(loaded: LoadedSource, body: Path, answer: Response, batch: Batch) -> Expected:
    """What the rules read from the case as it was written, so that it holds when it is checked."""
    headers = {name: answer.headers[name] for name in _TELLING if name in answer.headers}
    http = Answered(answer.status, headers)
    page = batch.tasks[0].page
    locale = batch.locale if batch.locale != loaded.source.spec.default_locale else None
    asked = question(loaded, page, locale)
    response = recorded(loaded, body, http, asked)
    judged = judge_response(asked.tasks[0], loaded.source, loaded.extractor, response, now=0.0)
    status, reason = status_of(judged)
    said: dict[str, object] = {"status": status, "reason": reason, "page": page, "locale": locale}
    if isinstance(judged, Done):
        rows = tuple(_row(row) for row in judged.results)
        said |= {"total": judged.total, "results": rows}
    if http != Answered():
        said["http"] = http
    return msgspec.convert(said, Expected)


def _row(row: Result) -> ExpectedResult:
    named = None if row.domain == domain(row.url) else row.domain
    return ExpectedResult(row.rank, row.title, row.url, row.snippet, row.kind, named)
