"""Small lakes, written through the real catalog: pages by hand, so that answers can be worked out."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.catalog import Tables
from pipeline.iceberg import open_folder_catalog
from stages.records import Batch, Closing, Page, Result, Task
from stages.shard import ShardRow
from stages.staged import Staged, decode_staged, encode_staged

FIRST, SECOND, THIRD = "run-a", "run-b", "run-c"
REFUSED_FILE = "run-d"
DAYS = {
    FIRST: "2026-07-01",
    SECOND: "2026-07-02",
    THIRD: "2026-07-03",
    REFUSED_FILE: "2026-07-03",
}


def organic(rank: int, site: str, path: str = "", title: str = "A title", snippet: str = "Words") -> Result:
    """One organic result of a site."""
    return Result(rank, "organic", title, f"https://{site}/{path}", site, snippet)


def page(
    keyword: str,
    *results: Result,
    at: str,
    number: int = 1,
    status: str = "ok",
    reason: str = "",
    http_status: int = 200,
) -> Page:
    """One page fetched at a moment (ISO, UTC); its request left a quarter of a second before."""
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()
    return Page(
        task=Task(keyword, number),
        attempts=1,
        status=status,
        reason=reason,
        http_status=http_status,
        requested_at=moment - 0.25,
        fetched_at=moment,
        latency_ms=250,
        bytes=1000,
        url=f"https://engine.example/?q={number}",
        total_results=len(results),
        results=results,
    )


def staged(
    run_id: str,
    batch_no: int,
    *pages: Page,
    source: str = "alpha",
    locale: str = "en-US",
    device: str = "desktop",
    run_date: str | None = None,
) -> Staged:
    """One batch as aggregate finds it."""
    batch = Batch(
        run_id=run_id,
        run_date=run_date if run_date is not None else DAYS[run_id],
        part=0,
        batch_no=batch_no,
        source=source,
        locale=locale,
        device=device,
        tasks=(),
    )
    return decode_staged(encode_staged(batch, pages, lane="0"))


def shard_row(
    run_id: str, part: int = 0, parts: int = 1, *, run_date: str | None = None, **counts: Any
) -> ShardRow:
    """One row of the ledger."""
    day = run_date if run_date is not None else DAYS[run_id]
    return ShardRow(run_id, day, f"{run_id}.csv", part, parts, **counts)


def seconds(at: str) -> float:
    """A moment (ISO, UTC) in seconds since the epoch."""
    return datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()


def closed(at: str, until: str, reason: str, *, since: str = "", refusals: int = 1) -> Closing:
    """Source alpha closed until a moment, for the first time or since one before."""
    return Closing(
        id=f"closed {at}",
        source="alpha",
        event="closed",
        happened_at=seconds(at),
        closed_since=seconds(since if since else at),
        closed_until=seconds(until),
        reason=reason,
        refusals=refusals,
    )


def reopened(at: str, since: str, reason: str, source: str = "alpha", refusals: int = 1) -> Closing:
    """A source open again that was closed since a moment."""
    return Closing(
        id=f"reopened {source} {at}",
        source=source,
        event="reopened",
        happened_at=seconds(at),
        closed_since=seconds(since),
        reason=reason,
        refusals=refusals,
    )


def write(
    folder: Path,
    batches: list[Staged],
    rows: list[ShardRow] | None = None,
    closings: list[Closing] | None = None,
) -> Path:
    """Commit batches, each into a file of its own, shard rows and closings; gives the lake's folder."""
    with closing(open_folder_catalog(folder)) as catalog:
        tables = Tables(catalog)
        tables.create()
        for one in batches:
            tables.append_pages([one])
        tables.append_shards(rows if rows is not None else [])
        tables.append_closings(closings if closings is not None else [])
    return folder


def small(folder: Path) -> Path:
    """Three runs of four keywords, the last not complete; the tests of the views say what is to be seen."""
    first = staged(
        FIRST,
        1,
        page(
            "red shoes",
            organic(1, "a.example", "1"),
            organic(2, "b.example", "1"),
            Result(1, "ad", "Buy", "https://ads.example/", "ads.example", ""),
            organic(4, "a.example", "2", snippet=""),
            at="2026-07-01T10:00:00",
        ),
        page("red shoes", organic(11, "c.example", title=""), at="2026-07-01T10:00:01", number=2),
        page("hats", organic(1, "b.example", "hats"), at="2026-07-01T10:00:02"),
        page("gloves", at="2026-07-01T11:00:00", status="failed", reason="unreadable"),
        page("nichts „ß“ 鞋", at="2026-07-01T11:00:01"),
    )
    second = staged(
        SECOND,
        1,
        page(
            "red shoes", organic(1, "b.example", "1"), organic(2, "a.example", "2"), at="2026-07-02T10:00:00"
        ),
        page(
            "red shoes",
            at="2026-07-02T10:00:01",
            number=2,
            status="failed",
            reason="timeout",
            http_status=0,
        ),
        page("hats", at="2026-07-02T10:59:00", status="refused", reason="http_429", http_status=429),
        page("gloves", at="2026-07-02T11:01:00", status="refused", reason="http_429", http_status=429),
        page("nichts „ß“ 鞋", organic(1, "d.example"), at="2026-07-02T11:30:00"),
    )
    third = staged(
        THIRD,
        1,
        page(
            "red shoes",
            organic(1, "b.example", "1"),
            organic(2, "d.example"),
            organic(5, "a.example", "2"),
            at="2026-07-03T10:00:00",
        ),
        page("hats", at="2026-07-03T10:00:01"),
        page("nichts „ß“ 鞋", at="2026-07-03T10:00:02"),
    )
    elsewhere = staged(
        THIRD, 2, page("red shoes", organic(1, "z.example"), at="2026-07-03T10:00:03"), source="beta"
    )
    rows = [
        shard_row(FIRST, 0, 2, tasks=3, lines=5, kept=2, rejected=1, duplicates=2),
        shard_row(FIRST, 1, 2, tasks=2, lines=2, kept=2),
        shard_row(SECOND, tasks=5, lines=4, kept=4),
        shard_row(THIRD, tasks=6, lines=5, kept=5),
        shard_row(REFUSED_FILE, refused="not UTF-8"),
    ]
    closings = [
        # Refused twice in a row, over midnight; then forgotten; then refused again and still closed.
        closed("2026-07-02T23:58:00", "2026-07-02T23:59:00", "http_429"),
        closed(
            "2026-07-02T23:59:00", "2026-07-03T00:01:00", "captcha", since="2026-07-02T23:58:00", refusals=2
        ),
        reopened("2026-07-03T00:01:30", "2026-07-02T23:58:00", "captcha", refusals=2),
        closed("2026-07-03T09:00:00", "2026-07-03T09:01:00", "http_403"),
        closed("2026-07-03T12:00:00", "2026-07-03T13:00:00", "http_503"),
        reopened("2026-07-03T10:00:15", "2026-07-03T10:00:00", "robots_unreachable", source="beta"),
    ]
    return write(folder, [first, second, third, elsewhere], rows, closings)
