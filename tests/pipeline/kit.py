"""What tests of the pipeline stand on: a clock that is told the time, an engine without a wire, a lake."""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import orjson
import structlog

from pipeline.http_client import Slot
from pipeline.iceberg import NAMESPACE, open_folder_catalog
from pipeline.pacers.memory import MemoryPaceStore
from pipeline.pacers.pacer import Pacer
from pipeline.retrieve import Retriever
from pipeline.source_files import LoadedSource, load_sources
from stages.records import Batch, Request, Response, Task
from stages.run import Options, Run, SourceTerms
from stages.source import Limits

API = "practice_api"
LOG = structlog.wrap_logger(structlog.ReturnLogger(), processors=[structlog.processors.KeyValueRenderer()])


class Clock:
    """Time that moves only when told, or when somebody sleeps."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def api_source(**politeness: float) -> LoadedSource:
    """The practice engine's JSON source, asked as fast or as slowly as a test wants."""
    loaded = load_sources(None)[API]
    spec = loaded.source.spec
    terms = msgspec.structs.replace(
        spec.politeness, **{"rate": 10_000, "burst": 100, "concurrency": 4, **politeness}
    )
    source = msgspec.structs.replace(loaded.source, spec=msgspec.structs.replace(spec, politeness=terms))
    return msgspec.structs.replace(loaded, source=source)


def answer(keyword: str, results: int = 3) -> Response:
    """A good answer of the JSON interface."""
    items = [
        {"position": at, "title": f"{keyword} {at}", "link": f"https://docs.example/{at}", "snippet": "…"}
        for at in range(1, results + 1)
    ]
    body = orjson.dumps({"query": keyword, "total": results, "page": 1, "items": items})
    return Response(200, {"content-type": "application/json"}, body, "http://127.0.0.1:8650/api/search", 5)


def http(status: int, **headers: str) -> Response:
    """An answer that is only a status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, named, b"", "http://127.0.0.1:8650/api/search", 5)


def broken(failure: str) -> Response:
    """No answer at all."""
    return Response(0, {}, b"", "http://127.0.0.1:8650/api/search", 5, failure)


class Engine:
    """An engine without a wire: scripted answers for some keywords, good ones for the rest."""

    def __init__(
        self, script: dict[str, list[Response]] | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        self._script = {keyword: list(answers) for keyword, answers in (script or {}).items()}
        self._clock = clock
        self.asked: list[tuple[str, int]] = []
        self.moments: list[float] = []

    async def send(self, request: Request, limits: Limits, slot: Slot | None = None) -> Response:
        """Answer; ``limits`` hold on the wire only."""
        assert limits.timeout > 0
        if slot is not None and not await slot():
            return broken("late")
        query = parse_qs(urlsplit(request.url).query)
        keyword, page = query["q"][0], int(query["page"][0])
        self.asked.append((keyword, page))
        self.moments.append(self._clock() if self._clock is not None else 0.0)
        await asyncio.sleep(0)
        scripted = self._script.get(keyword)
        return scripted.pop(0) if scripted else answer(keyword)

    async def close(self) -> None:
        """Nothing is held."""


def make_batch(keywords: Iterable[str], **fields: object) -> Batch:
    """A batch of the API source."""
    values = {
        "run_id": "run1",
        "run_date": "2026-11-23",
        "part": 0,
        "batch_no": 1,
        "source": API,
        "locale": "en-US",
        "device": "desktop",
        "tasks": tuple(Task(keyword) for keyword in keywords),
        **fields,
    }
    return Batch(**values)  # type: ignore[arg-type]


def make_run(key: str, **fields: object) -> Run:
    """A run of the API source with small batches."""
    values = {
        "run_id": "run1",
        "key": key,
        "name": key.rpartition("/")[2],
        "size": 1,
        "options": Options(API, "en-US", "desktop", 1),
        "parts": 1,
        "batch_size": 5,
        "run_date": "2026-11-23",
        "created_at": 1.8e9,
        "sources": {API: SourceTerms("x", 10)},
        "software": "test",
        **fields,
    }
    return Run(**values)  # type: ignore[arg-type]


def make_retriever(
    engine: Engine, clock: Callable[[], float], pacer: Pacer | None = None, **politeness: float
) -> Retriever:
    """A retriever over an engine without a wire."""
    loaded = api_source(**politeness)
    pacer = pacer if pacer is not None else Pacer(MemoryPaceStore(), clock)
    return Retriever(
        loaded.source, loaded.extractor, engine, pacer, "serpline/test", clock, lambda: 0.5, log=LOG
    )


def table_rows(lake: Path | str, *columns: str, table: str = "pages") -> list[tuple[object, ...]]:
    """Some columns of every row of a table, as pyiceberg reads them."""
    read = (
        open_folder_catalog(Path(lake))
        .load_table((NAMESPACE, table))
        .scan(selected_fields=columns)
        .to_arrow()
    )
    return list(zip(*(read[name].to_pylist() for name in columns), strict=True))


def each_once(lake: Path | str) -> Counter[tuple[object, ...]]:
    """How often each (keyword, page) stands in the table of pages."""
    return Counter(table_rows(lake, "keyword", "page"))


def example_keywords() -> list[str]:
    """The keywords of the example file, as written there."""
    path = Path(__file__).parents[2] / "examples" / "keywords.csv"
    with path.open(encoding="utf-8") as file:
        return [row["keyword"] for row in csv.DictReader(file)]


def windows_hold(moments: list[float], rate: float, burst: float, delta: float) -> str:
    """Whether invariant 2 holds at the engine; empty, or the first window with too many requests.

    No window of w seconds holds more than rate * (w + delta) + burst requests.
    """
    moments = sorted(moments)
    for first in range(len(moments)):
        for last in range(first, len(moments)):
            width = moments[last] - moments[first]
            count = last - first + 1
            if count > rate * (width + delta) + burst:
                return f"{count} requests within {width:.3f} s"
    return ""
