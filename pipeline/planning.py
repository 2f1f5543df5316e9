"""Planning: how long a keyword file takes at its sources' rates, what AWS is called for, and what that costs.

Arithmetic on what the code does: a number is a constant of the stage that it describes, or stands here with
its reason. Calls were compared with an emulator's counts, no bill with AWS's. Left out: Athena, compaction,
storage, what a new copy's start costs, bytes that leave AWS, and every free tier.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pipeline.backlog import BATCHES_A_CHUNK, Room
from pipeline.loads import Load, Terms
from pipeline.permission import WATCH
from pipeline.queues.protocol import MAX_DELAY
from pipeline.retrieve import PATIENCE
from pipeline.runs import batch_size
from pipeline.source_files import LoadedSource
from pipeline.steps.drop import LINES_A_SECOND
from pipeline.steps.shard import SENT_AT_ONCE
from stages.keyword_file import count_lines
from stages.pace import HORIZON as LEASED
from stages.records import Batch
from stages.run import Options, Run, parts_for
from stages.shard import ShardRow, shard
from stages.spread import spread_batch

COUNTED = 2_000_000
"""Lines up to which a file is sharded to know its tasks; in a longer one, each line counts as a keyword."""


class FileRead(msgspec.Struct, frozen=True):
    """What a file holds: exactly (with ``row``), or by its beginning. ``tasks`` and ``batches`` by source."""

    lines: int
    parts: int
    batch_size: int
    tasks: dict[str, int]
    batches: dict[str, int]
    row: ShardRow | None = None


def read_file(
    path: Path, options: Options, sources: Mapping[str, LoadedSource], rate: float, spread: float = 0.0
) -> FileRead:
    """Read a keyword file as shard will, its source asked at ``rate``.

    Raises ``Malformed`` where it is none.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        lines = count_lines(stream, path.name, size)
        fits = batch_size(rate)
        if spread:
            fits = min(fits, spread_batch(lines * options.pages, spread))
        if lines > COUNTED:
            tasks = lines * options.pages
            least = {options.source: tasks}
            return FileRead(lines, parts_for(lines), fits, least, {options.source: math.ceil(tasks / fits)})
        stream.seek(0)
        run = Run(
            run_id="plan",
            key="",
            name=path.name,
            size=size,
            options=options,
            parts=1,
            batch_size=fits,
            run_date="",
            created_at=0.0,
            sources={name: loaded.terms for name, loaded in sources.items()},
            software="",
        )
        found: Counter[str] = Counter()
        batches: Counter[str] = Counter()
        row = ShardRow("", "", path.name, 0, 1)
        for event in shard(stream, run, 0):
            if isinstance(event, Batch):
                found[event.source] += len(event.tasks)
                batches[event.source] += 1
            elif isinstance(event, ShardRow):
                row = event
    return FileRead(row.lines, 1, fits, dict(found), dict(batches), row)


class Prices(msgspec.Struct, frozen=True):
    """US dollars in us-east-1 without volume discounts, as AWS's pricing page of each service said in 2026.

    Lambda on arm64; SQS standard queues in requests of 64 KB, ``fair`` more where a message names its group;
    DynamoDB on demand; a log's bytes as they come in; a metric is one name with one set of dimensions.
    """

    invocation: float = 0.20e-6
    gb_second: float = 13.3334e-6
    sqs: float = 0.40e-6
    fair: float = 0.10e-6
    put: float = 5.0e-6
    get: float = 0.4e-6
    read: float = 0.125e-6
    write: float = 0.625e-6
    glue: float = 1.0e-6
    schedule: float = 1.0e-6
    log_gb: float = 0.50
    metric_month: float = 0.30


class Fleet(msgspec.Struct, frozen=True):
    """The functions beside fetch as terraform makes them: MB, and seconds between turns and of the window."""

    shard: int = 1769
    aggregate: int = 2048
    compact: int = 3008
    conduct: int = 256
    window: float = 60.0
    conduct_every: float = 60.0
    ledger_every: float = 300.0
    compact_every: float = 3600.0
    horizon: float = 21_600.0


class Line(msgspec.Struct, frozen=True):
    """One line of a bill: so many of something."""

    service: str
    what: str
    count: float
    usd: float


class Bill(msgspec.Struct, frozen=True):
    """What AWS is called for and what it costs; ``seconds`` until the last task is done."""

    seconds: float
    lines: tuple[Line, ...]

    @property
    def usd(self) -> float:
        """All of it."""
        return math.fsum(line.usd for line in self.lines)

    def count(self, what: str) -> float:
        """How many of something."""
        return math.fsum(line.count for line in self.lines if line.what == what)

    def of(self, service: str) -> float:
        """What one service costs."""
        return math.fsum(line.usd for line in self.lines if line.service == service)


STOPPED = 15.0
"""Seconds before its end at which a function stops asking (as ``functions.runtime`` says)."""

POLLERS = 5
POLL = 20.0
"""Long polls that a mapping has open, and how long each lasts where nothing comes (as Lambda documents)."""

AGGREGATES = 2
"""Aggregate functions at once: each window may end as so many commits."""

COMMIT_SECONDS = 3.0
PAGES_A_SECOND = 5_000
"""An aggregate call: a look, a file and three metadata objects to S3; and what it decodes and writes."""

TURN_SECONDS = 0.5
LEDGER_SECONDS = 2.0
FILE_SECONDS = 0.02
SEND_SECONDS = 0.02
HOP_SECONDS = 0.5
"""One turn of conduct, one of the ledger and each file it reads, one send, one look at a closed door."""

COMMIT_PUTS = 6
COMMIT_GETS = 10
MANIFEST_GETS = 3.4
COMMIT_GLUE = 4
"""A commit: its data file, manifest, list and metadata, with lost races; what is read of those, a HEAD before
each GET; the same for each small file; Glue. The emulator counted 51 commits, 286 PUT, 4,814 GET and HEAD.
"""

LEDGER_GETS = 20
FILE_GETS = 5
SHARD_GETS = 8
"""Of a turn of the ledger, of each small file in it, of sharding a part; HEAD included, counted likewise."""

BODY = 200
BODY_TASK = 45
SQS_UNIT = 64 * 1024
"""Bytes of a batch as a message, and what SQS bills as one request."""

LOG_INVOCATION = 2_000
LOG_TASK = 10
"""Bytes of log: an invocation's own lines with ours and its metrics; a task's latency."""

CONDUCT_METRICS = 3
FETCH_METRICS = 5
OTHER_METRICS = 4
"""Metrics of a source, told with and without it as a dimension, by conduct always and by fetch and aggregate
while there is work; and aggregate's others. The ledger has one."""

MONTH = 30 * 86_400.0


class _Asked(msgspec.Struct, frozen=True):
    """What fetching one load takes."""

    invocations: float
    staged: float
    sends: float
    seconds: float
    leases: float


def _ask(load: Load, horizon: float) -> _Asked:
    """Fetch: while its queue holds something all copies of a function are at work, most of it waiting."""
    terms = load.terms
    alone = load.alone
    if load.spread > alone:
        # A batch comes once before its moment and once when it is due, and then waits for nothing.
        looks, sends = 2.0 * load.batches, (1 / SENT_AT_ONCE + 1) * load.batches
        return _Asked(looks, load.batches, sends, alone + looks * HOP_SECONDS, load.batches)
    slower = terms.rate / terms.speed  # slots that nobody is free to use are leased in vain
    if 1 / terms.rate > PATIENCE:
        # Too slow to wait for inside: each message in the queue comes, finds no slot and is sent again.
        hops = alone / MAX_DELAY * min(load.tasks, max(1.0, terms.rate * horizon))
        seconds = load.tasks * PATIENCE + hops * HOP_SECONDS
        return _Asked(load.tasks + hops, load.tasks, load.batches / SENT_AT_ONCE + hops, seconds, load.tasks)
    # Without quota nobody listens: functions wait for the rate alone.
    seconds = alone * min(terms.copies, load.batches)
    # A full batch that takes longer than an invocation has leaves remainders.
    full = batch_size(terms.rate)
    longer = full / terms.speed * min(terms.copies, load.batches) / (terms.timeout - STOPPED) - 1
    staged = load.batches + load.tasks / full * max(0.0, longer)
    size = BODY + BODY_TASK * full
    units = max(1.0, SENT_AT_ONCE * size / SQS_UNIT)
    sends = load.batches / SENT_AT_ONCE * units + (staged - load.batches)
    # A lease reaches a minute ahead, and copies share it.
    return _Asked(staged, staged, sends, seconds, (staged + seconds / (LEASED / 2)) * slower)


def bill(
    loads: Sequence[Load],
    *,
    lines: int = 0,
    parts: int = 1,
    seconds: float | None = None,
    fleet: Fleet | None = None,
    prices: Prices | None = None,
) -> Bill:
    """The bill of these loads, from the drop of a file of so many lines to the last commit.

    ``seconds``: the time to count schedules and polls for, where that is not how long the loads take.
    """
    f = fleet if fleet is not None else Fleet()
    p = prices if prices is not None else Prices()
    tasks = sum(load.tasks for load in loads)
    sources = max(1, len(loads))
    asked = [_ask(load, f.horizon) for load in loads]
    took = max((load.seconds for load in loads), default=0.0)
    span = max(took, f.window) if seconds is None else seconds
    shards = parts if loads else 0
    chunks = sum(_chunks(load, f.horizon) for load in loads)
    pointers = sum(one.staged for one in asked) + shards

    # Aggregate: a commit for each window and part, or for each pointer where those are fewer.
    windows = sum(
        min(one.staged, AGGREGATES * (load.seconds / f.window + 1))
        for load, one in zip(loads, asked, strict=True)
    )
    commits = min(pointers, windows * max(1, parts)) + shards
    small = min(commits, commits * f.compact_every / max(span, f.compact_every)) / 2
    conducts, ledgers = span / f.conduct_every, span / f.ledger_every

    fetches = sum(one.invocations for one in asked)
    waited = sum(one.seconds for one in asked)
    leases = sum(one.leases for one in asked)
    shard_seconds = shards * (lines / LINES_A_SECOND + 1) + sum(one.sends for one in asked) * SEND_SECONDS
    gb = {
        "fetch": sum(one.seconds * load.terms.memory for load, one in zip(loads, asked, strict=True)),
        "shard": shard_seconds * f.shard,
        "aggregate": (windows * COMMIT_SECONDS + tasks / PAGES_A_SECOND) * f.aggregate,
        "conduct": conducts * sources * TURN_SECONDS * f.conduct,
        "ledger": ledgers * (LEDGER_SECONDS + small * FILE_SECONDS) * f.compact,
    }
    invocations = fetches + shards + windows + conducts + ledgers
    polls = (2 + sources) * POLLERS * span / POLL
    of_fetch = sum(one.sends for one in asked) + 2 * fetches + chunks
    puts = pointers + chunks + 3 * shards + commits * COMMIT_PUTS
    lists = conducts * sources + ledgers
    gets = (
        2 * fetches
        + pointers
        + chunks
        + SHARD_GETS * shards
        + commits * (COMMIT_GETS + MANIFEST_GETS * small)
        + conducts * 2 * sources
        + ledgers * (LEDGER_GETS + FILE_GETS * small)
    )
    logs = (LOG_INVOCATION * invocations + LOG_TASK * tasks) / 1e9
    metrics = (CONDUCT_METRICS * (1 + sources) + 1) * span / MONTH
    metrics += (FETCH_METRICS * (1 + sources) + OTHER_METRICS) * took / MONTH

    def line(service: str, what: str, count: float, price: float) -> Line:
        return Line(service, what, count, count * price)

    return Bill(
        took,
        (
            line("Lambda", "invocations", invocations, p.invocation),
            *(line("Lambda", f"GB-s of {stage}", used / 1024, p.gb_second) for stage, used in gb.items()),
            line("SQS", "requests of the fetch queues", of_fetch, p.sqs + p.fair),
            line("SQS", "other requests", 3 * pointers + 3 * shards + 2 * conducts * sources, p.sqs),
            line("SQS", "polls", polls, p.sqs),
            line("S3", "PUT", puts, p.put),
            line("S3", "LIST", lists, p.put),
            line("S3", "GET", gets, p.get),
            line("DynamoDB", "reads", leases + waited / WATCH + conducts * sources, p.read),
            line("DynamoDB", "writes", leases, p.write),
            line("Glue", "calls", commits * COMMIT_GLUE + ledgers * 2, p.glue),
            line("CloudWatch", "GB of logs", logs, p.log_gb),
            line("CloudWatch", "months of a metric", metrics, p.metric_month),
            line("Scheduler", "turns", conducts + ledgers, p.schedule),
        ),
    )


def _chunks(load: Load, horizon: float) -> float:
    """Objects of the backlog."""
    held = load.tasks - load.queued(horizon)
    size = min(
        Room(load.terms.rate, horizon, load.terms.quota).chunk, BATCHES_A_CHUNK * batch_size(load.terms.rate)
    )
    return held / size


def standing(seconds: float, sources: int = 1, prices: Prices | None = None) -> Bill:
    """What the schedules and polls of a deployment cost in a time without work."""
    idle = [Load("", Terms(1.0), 0, 0)] * sources
    return bill(idle, seconds=seconds, prices=prices, parts=0)


def of_pages(pages: int, terms: Terms, prices: Prices | None = None) -> Bill:
    """The bill of so many pages of one source, one page a line."""
    load = Load("", terms, pages, math.ceil(pages / batch_size(terms.rate)))
    return bill([load], lines=pages, prices=prices)


EXAMPLES: Mapping[str, Terms] = {
    "1 request/s": Terms(1.0),
    "50 requests/s": Terms(50.0, concurrency=8),
}
"""What the documentation shows, a million pages each."""


def in_words(seconds: float) -> str:
    """A time as people say it, in two units."""
    units = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
    left = max(1, round(seconds))
    said: list[str] = []
    for name, size in units:
        count, rest = divmod(left, size)
        if count:
            said.append(f"{count:,} {name}{'' if count == 1 else 's'}")
            left = rest
        if len(said) == 2 or (said and not count):
            break
    return " ".join(said)
