"""Fetch without the network: what to ask for a task, and what an answer means for it."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

import msgspec

from stages.body import ACCEPT_ENCODING, TooLarge, inflate, to_utf8
from stages.extract import Extracted, Extractor, extract, shows_refusal
from stages.records import Batch, Malformed, Page, Request, Response, Result, Task
from stages.source import Limits, Source
from stages.template import fill

MAX_RETRY_AFTER = 366 * 86_400.0
"""Seconds; what an engine names beyond a year is garbage."""

_PORTS = {"http": ":80", "https": ":443"}
"""What a host may say in its address and need not."""

_KEPT = "!#$%&'()*+,/:;=?@[]~"
"""What stays in an address as it is; the rest is escaped."""


class Done(msgspec.Struct, frozen=True):
    """The task ends: ``ok``, or ``failed`` with a reason."""

    status: str
    reason: str = ""
    bytes: int = 0
    total: int | None = None
    results: tuple[Result, ...] = ()


class Retry(msgspec.Struct, frozen=True):
    """The request failed; another one may not. It spends one of the task's attempts."""

    reason: str


class Refused(msgspec.Struct, frozen=True):
    """The engine said no: it closes for everyone, ``until`` (epoch seconds) where it named a moment."""

    reason: str
    until: float | None = None


class Follow(msgspec.Struct, frozen=True):
    """The answer stands elsewhere on an allowed host; asking there is one more request.

    ``alike`` says that it is asked there as it was here, a POST with its body (RFC 9110, 15.4.8 and 15.4.9).
    """

    url: str
    alike: bool = False


Judgement = Done | Retry | Refused | Follow


def plan_request(task: Task, batch: Batch, source: Source, user_agent: str) -> Request:
    """The request that asks a source for one task. Its keyword fills one slot and nothing else.

    Raises ``Malformed`` for a locale that the source has no host for.
    """
    spec = source.spec
    language, _, country = batch.locale.partition("-")
    values = {
        "base_url": source.base_for(batch.locale),
        "keyword": task.keyword,
        "locale": batch.locale,
        "language": language,
        "country": country,
        "device": batch.device,
        "page": str(spec.paging.first + task.page - 1),
        "offset": str((task.page - 1) * spec.paging.size),
        "start": str((task.page - 1) * spec.paging.size + 1),
        "size": str(spec.paging.size),
    }
    headers = {"User-Agent": user_agent, "Accept-Encoding": ACCEPT_ENCODING}
    body = None
    if source.body is not None:
        body = fill(source.body, values, spec.request.body_format).encode()
        form = spec.request.body_format == "form"
        headers["Content-Type"] = "application/x-www-form-urlencoded" if form else "application/json"
    given = {name.lower() for name in spec.request.headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in given}
    headers.update(source.headers)
    return Request(
        spec.request.method, fill(source.url, values, "url"), headers, body, dict(source.secret_headers)
    )


def judge_response(
    task: Task, source: Source, extractor: Extractor, response: Response, now: float
) -> Judgement:
    """What an answer that came at ``now`` (epoch seconds) means for the task and for the source."""
    status = response.status
    retry_after = retry_after_of(response, now)
    if status in (403, 429, *source.spec.answer.refused.status) or (
        status == 503 and retry_after is not None
    ):
        return Refused(f"http_{status}", retry_after)
    if response.failure:
        final = response.failure in ("too_large", "host_not_allowed", "private_address")
        return Done("failed", response.failure) if final else Retry(response.failure)
    body, unread = _opened(response, source.spec.limits.bytes)
    text = to_utf8(body, response.headers.get("content-type", "")) if status != 200 else b""
    if text and shows_refusal(extractor, text):
        return Refused("refusal_page", retry_after)
    said = _by_status(source, response)
    if said is not None:
        return said
    if unread is not None:
        return unread
    read = _read(task, source, extractor, response, body)
    return Refused(read.reason, retry_after) if isinstance(read, Refused) else read


def _opened(response: Response, limit: int) -> tuple[bytes, Done | Retry | None]:
    """The body inflated, and what it means that it cannot be."""
    try:
        return inflate(response.body, response.headers.get("content-encoding", ""), limit), None
    except TooLarge:
        return b"", Done("failed", "too_large", len(response.body))
    except Malformed:
        return b"", Retry("damaged")


def _by_status(source: Source, response: Response) -> Judgement | None:
    """What any status but 200 says of an answer that shows no refusal."""
    status = response.status
    if status == 200:
        return None
    if status in source.spec.answer.empty.status:
        return Done("ok", "", len(response.body))
    if _moved(response):
        return _redirected(response, source)
    failed = status >= 500 or status == 408
    return Retry(f"http_{status}") if failed else Done("failed", f"http_{status}", len(response.body))


def _read(
    task: Task, source: Source, extractor: Extractor, response: Response, body: bytes
) -> Done | Refused | Retry:
    first_rank = (task.page - 1) * source.spec.paging.size + 1
    text = to_utf8(body, response.headers.get("content-type", ""))
    try:
        extracted: Extracted = extract(extractor, text, response.url, first_rank)
    except Malformed:
        if shows_refusal(extractor, text):
            return Refused("refusal_page")
        return Done("failed", "unreadable", len(body))
    if extracted.refused:
        return Refused("refusal_page")
    if extracted.failed:
        return Retry("engine_error")
    if extracted.damage == "cut":
        # What was read of it may be most of it, and would pass for all of it.
        return Retry("damaged")
    if extracted.damage:
        return Done("failed", "unreadable", len(body))
    if not extracted.results and not extracted.empty:
        # Neither rows nor the mark of an empty answer: the engine changed, and silence would hide it.
        return Done("failed", "unreadable", len(body))
    return Done("ok", "", len(body), extracted.total, extracted.results)


def judge_redirect(response: Response, source: Source) -> str | None:
    """Where an answer says that what was asked stands, if the source may be asked there; else None."""
    judged = _redirected(response, source) if _moved(response) else None
    return judged.url if isinstance(judged, Follow) else None


def _moved(response: Response) -> bool:
    return response.status in (301, 302, 303, 307, 308) and bool(response.headers.get("location"))


def _redirected(response: Response, source: Source) -> Judgement:
    try:
        parts = urlsplit(urljoin(response.url, response.headers["location"]))
        scheme, host = _origin(parts)
    except ValueError:  # what is no address at all
        return Done("failed", "redirected_elsewhere")
    if scheme not in _PORTS or not {host, f"{host}{_PORTS[scheme]}"} & source.hosts:
        return Done("failed", "redirected_elsewhere")
    if scheme == "http" and response.url.lower().startswith("https:"):
        return Done("failed", "redirected_elsewhere")
    # Put together again from the parts that were checked, with what no request line may hold escaped.
    path = quote(parts.path if parts.path else "/", _KEPT, errors="surrogateescape")
    query = quote(parts.query, _KEPT, errors="surrogateescape")
    return Follow(urlunsplit((scheme, host, path, query, "")), alike=response.status in (307, 308))


def _origin(parts: SplitResult) -> tuple[str, str]:
    """Scheme and host, each in the one way of many in which both may be written."""
    host = parts.netloc.lower()
    return parts.scheme, host.removesuffix(_PORTS.get(parts.scheme, ""))


def counted(task: Task, judged: Judgement, limits: Limits) -> tuple[Task, Judgement]:
    """The task with what an answer spends of it, and what it means: the end, where nothing is left."""
    if isinstance(judged, Retry):
        task = msgspec.structs.replace(task, attempts=task.attempts + 1)
        if task.attempts >= limits.attempts:
            return task, Done("failed", judged.reason)
    elif isinstance(judged, Refused):
        task = msgspec.structs.replace(task, refusals=task.refusals + 1)
        if task.refusals >= limits.refusals:
            return task, Done("refused", judged.reason)
    return task, judged


def followed(request: Request, moved: Follow) -> Request:
    """The request for a redirect's target. Secrets go to the host they were meant for and to no other."""
    same = _origin(urlsplit(request.url)) == _origin(urlsplit(moved.url))
    secret = request.secret_headers if same else {}
    if moved.alike:
        return msgspec.structs.replace(request, url=moved.url, secret_headers=secret)
    headers = {name: value for name, value in request.headers.items() if name.lower() != "content-type"}
    return Request("GET", moved.url, headers, None, secret)


def retry_after_of(response: Response, now: float) -> float | None:
    """The moment that an answer's Retry-After header names (RFC 9110, 10.2.3), in epoch seconds.

    None where there is none, and for what is neither seconds nor a date, negative or beyond a year.
    """
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isdecimal() and value.isascii():
        until = now + float(value)
    else:
        try:
            moment = parsedate_to_datetime(value)
            # A date without a zone, like asctime's, is in GMT too.
            until = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return until if now <= until <= now + MAX_RETRY_AFTER else None


def page_of(
    task: Task, done: Done, response: Response | None, *, sent: int, sent_at: float, now: float
) -> Page:
    """What became of a task that ended ``now`` after so many requests here, the first of them at ``sent_at``.

    Without a response it ended unasked; ``sent_at`` 0 says that nothing was sent.
    """
    return Page(
        task=task,
        attempts=task.attempts + task.refusals + sent,
        status=done.status,
        reason=done.reason,
        http_status=response.status if response is not None else 0,
        requested_at=sent_at if sent_at else now,
        fetched_at=now,
        latency_ms=response.latency_ms if response is not None else 0,
        bytes=done.bytes,
        url=response.url if response is not None else "",
        total_results=done.total,
        results=done.results,
    )
