"""What the tests of the stages share: a frozen run, a sharded file, a source, and an answer judged."""

from __future__ import annotations

import io
from typing import NamedTuple

from stages.extract import Extracted, compile_rules, extract
from stages.fetch import Judgement, judge_response
from stages.records import Batch, Response, Task
from stages.run import Options, Run, SourceTerms
from stages.shard import ShardRow, shard
from stages.source import Source, parse_source
from stages.text_blocks import Reject

OPTIONS = Options("engine", "en-US", "desktop", 1)
TERMS = {"engine": SourceTerms("h1", 5), "other": SourceTerms("h2", 3, ("de-DE", "en-US"))}
URL = "http://127.0.0.1:8650/s?q=python"
BATCH = Batch("r1", "2026-01-31", 0, 1, "engine", "en-US", "desktop", (Task("python"),))

REQUEST = 'url = "{base_url}/s?q={keyword}&page={page}"'
CSS = """
language = "css"
total = "#count"
[[answer.results]]
rows = "div.hit"
[answer.results.fields]
title = "h3"
url = { select = "a", attribute = "href" }
snippet = "p"
"""


def run_of(name: str, size: int, *, parts: int = 1, batch_size: int = 100, options: Options = OPTIONS) -> Run:
    """A run as it would be frozen for a file."""
    return Run(
        run_id="r1",
        key="k1",
        name=name,
        size=size,
        options=options,
        parts=parts,
        batch_size=batch_size,
        run_date="2026-01-31",
        created_at=0.0,
        sources=TERMS,
        software="test",
    )


class Sharded(NamedTuple):
    """What came out of sharding one part."""

    batches: list[Batch]
    rejects: list[Reject]
    row: ShardRow

    @property
    def tasks(self) -> list[tuple[str, str, str, str, int]]:
        """Every task with all that tells it from others."""
        return [
            (batch.source, batch.locale, batch.device, task.keyword, task.page)
            for batch in self.batches
            for task in batch.tasks
        ]

    @property
    def keywords(self) -> list[str]:
        """The keywords of the tasks, in order."""
        return [task[3] for task in self.tasks]

    @property
    def reasons(self) -> dict[int, str]:
        """By line number: why it was rejected."""
        return {reject.line: reject.reason for reject in self.rejects}


def sharded(
    name: str,
    data: bytes,
    *,
    part: int = 0,
    parts: int = 1,
    batch_size: int = 100,
    options: Options = OPTIONS,
) -> Sharded:
    """Shard a file's bytes. Checks on the way what holds for every file: the counts add up."""
    run = run_of(name, len(data), parts=parts, batch_size=batch_size, options=options)
    *events, row = shard(io.BytesIO(data), run, part)
    assert isinstance(row, ShardRow)
    found = Sharded(
        [event for event in events if isinstance(event, Batch)],
        [event for event in events if isinstance(event, Reject)],
        row,
    )
    assert row.lines == row.kept + row.duplicates + row.rejected
    assert row.rejected == len(found.rejects)
    assert row.tasks == len(found.tasks) == len(set(found.tasks))
    assert row.batches == len(found.batches)
    return found


def source_text(answer: str = CSS, request: str = REQUEST, **tables: str) -> str:
    """A source file in TOML; ``tables`` adds to or replaces tables by their names."""
    named = {"request": request, "politeness": "rate = 1", "answer": answer, **tables}
    text = 'name = "engine"\nkind = "page"\nsummary = "x"\nbase_url = "http://127.0.0.1:8650"\n'
    return text + "".join(f"[{name}]\n{lines}\n" for name, lines in named.items())


def source_of(answer: str = CSS, request: str = REQUEST, **tables: str) -> Source:
    """The source of such a file."""
    return parse_source(source_text(answer, request, **tables))


def judged(
    response: Response, source: Source | None = None, *, now: float = 1e9, task: Task | None = None
) -> Judgement:
    """What an answer means for a source (an ordinary CSS one)."""
    source = source if source is not None else source_of()
    extractor = compile_rules(source.spec.answer)
    return judge_response(task if task is not None else Task("python"), source, extractor, response, now)


def extracted(answer: str, body: bytes, *, first_rank: int = 1) -> Extracted:
    """What the rules of an ``[answer]`` table find in a body."""
    return extract(compile_rules(source_of(answer).spec.answer), body, URL, first_rank)
