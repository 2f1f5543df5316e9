"""The records that travel: tasks, batches, requests, responses, pages, results, and their ids."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

import msgspec

MAX_KEYWORD = 1_000
"""Characters of a normalised keyword; with ``MAX_BATCH`` it keeps a message below SQS's 1 MiB."""

MAX_BATCH = 200
"""Tasks of one batch."""


class Malformed(ValueError):
    """Bytes that are not the record they should be; the text says what is wrong with them."""


class Task(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One question: a keyword and a page number, and how often it was tried already.

    ``attempts`` counts requests that failed, ``refusals`` requests that the engine refused.
    """

    keyword: str
    page: int = 1
    attempts: int = 0
    refusals: int = 0


class BatchId(msgspec.Struct, frozen=True, order=True):
    """Which batch: derived from the run, never random."""

    run_id: str
    part: int
    batch_no: int
    cut: int

    def __str__(self) -> str:
        return f"{self.run_id}/{self.part}/{self.batch_no}.{self.cut}"


class Batch(msgspec.Struct, frozen=True, omit_defaults=True):
    """Up to ``MAX_BATCH`` tasks of one source, locale and device, as they travel in a fetch queue.

    ``run_date`` is the run's day (ISO). ``cut`` is 0 as sharded, n+1 for what cut n left undone.
    ``hop`` counts how often this same body was sent again to wait; it is no part of the identity.
    ``not_before`` is the moment (epoch seconds) from which a batch of a spread run may be asked.
    """

    run_id: str
    run_date: str
    part: int
    batch_no: int
    source: str
    locale: str
    device: str
    tasks: tuple[Task, ...]
    cut: int = 0
    hop: int = 0
    not_before: float = 0.0

    @property
    def id(self) -> BatchId:
        """The derived identity."""
        return BatchId(self.run_id, self.part, self.batch_no, self.cut)


class Pointer(msgspec.Struct, frozen=True):
    """What the results queue carries: the key of a staged object and how many pages it holds."""

    key: str
    pages: int = 0


class Closing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happened to a source as a whole: one row of table ``closings``. Times are seconds since the epoch.

    ``event`` is ``closed`` (also: again or for longer while it was closed) or ``reopened``. What happened
    between one closing and the reopening shares ``closed_since``. ``refusals`` counts those in a row;
    ``run_id`` and ``lane`` say who asked, where that is known.
    """

    id: str
    source: str
    event: Literal["closed", "reopened"]
    happened_at: float
    closed_since: float
    closed_until: float | None = None
    reason: str = ""
    refusals: int = 0
    run_id: str = ""
    lane: str = ""


class Request(msgspec.Struct, frozen=True):
    """One HTTP request, ready to send.

    ``secret_headers`` have ``{secret:NAME}`` where a secret belongs: only the client that sends them
    knows the values, so a request may be printed and logged. ``enough`` is how many bytes of the answer's
    body are read where its beginning counts; 0 where it must be whole.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None = None
    secret_headers: dict[str, str] = {}
    enough: int = 0


class Response(msgspec.Struct, frozen=True):
    """What came back. Header names are lower case; ``body`` is as it came over the wire.

    ``failure`` names what went wrong below HTTP (``timeout``, ``connection``, ``cut_short``,
    ``too_large``, ``dns``, ``private_address``; ``late`` where nothing was sent) and is empty where a whole
    answer arrived; ``status`` is 0 where no status line came. ``latency_ms`` runs from sending to the last
    byte.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    url: str
    latency_ms: int = 0
    failure: str = ""


class Result(msgspec.Struct, frozen=True, array_like=True):
    """One ranked entry on a page."""

    rank: int
    kind: str
    title: str
    url: str
    domain: str
    snippet: str


class Page(msgspec.Struct, frozen=True):
    """What became of one task. Times are seconds since the epoch, UTC.

    ``attempts`` counts every request made for the task, failed and refused ones included.
    """

    task: Task
    attempts: int
    status: str
    reason: str
    http_status: int
    requested_at: float
    fetched_at: float
    latency_ms: int
    bytes: int
    url: str
    total_results: int | None
    results: tuple[Result, ...] = ()


def digest(*parts: str, size: int = 16) -> str:
    """Hex blake2b of the parts, told apart by their lengths; ``size`` bytes."""
    hashed = blake2b(digest_size=size)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        hashed.update(len(raw).to_bytes(8, "big"))
        hashed.update(raw)
    return hashed.hexdigest()


def task_id(batch: Batch, task: Task) -> str:
    """The id of one task: a hash of its run, keyword, source, locale, device and page number."""
    return digest(batch.run_id, task.keyword, batch.source, batch.locale, batch.device, str(task.page))
