"""The views over ``pages``, ``shards`` and ``closings``: one definition each, for Athena and for DuckDB.

They are written in the part of SQL that Trino and DuckDB share; the two things that they spell
differently, taking a page's results apart and counting them, are slots that a ``Dialect`` fills.
``run_date`` and ``source`` are plain grouping columns wherever the meaning allows it, so that a
condition on them reaches the partitions. What is said of ranks stands in ``rank_views``.
"""

from __future__ import annotations

import msgspec

from stages import rank_views as ranks


class Dialect(msgspec.Struct, frozen=True):
    """What a dialect writes for pages ``p`` joined to each of their results ``r``, and for a count."""

    name: str
    unnested: str
    size: str


ATHENA = Dialect(
    "athena",
    "pages AS p CROSS JOIN UNNEST(p.results) AS r (rank, kind, title, url, domain, snippet)",
    "cardinality(p.results)",
)
DUCKDB = Dialect(
    "duckdb",
    # Taken apart in the select list: a condition on the page then reaches the files, which a join stops.
    "(SELECT *, unnest(results) AS r FROM pages) AS p",
    "len(p.results)",
)


class Column(msgspec.Struct, frozen=True):
    """A column of a view; its type as Athena (Trino) names it."""

    name: str
    type: str


class View(msgspec.Struct, frozen=True):
    """A view: what one row is, its columns, and its definition with the dialects' slots."""

    name: str
    row: str
    columns: tuple[Column, ...]
    template: str


def render(view: View, dialect: Dialect) -> str:
    """The view's SELECT in a dialect; ``pages``, ``shards`` and other views stand in it unqualified."""
    return view.template.format(unnested=dialect.unnested, size=dialect.size).strip()


def columns(text: str) -> tuple[Column, ...]:
    """Columns as ``name type, name type``."""
    return tuple(Column(*column.split(" ")) for column in text.replace("\n", " ").split(", "))


RESULTS = View(
    "results",
    "a result",
    columns(
        "run_id varchar, task_id varchar, run_date date, source varchar, locale varchar, device varchar, "
        "keyword varchar, page integer, rank integer, kind varchar, title varchar, url varchar, "
        "domain varchar, snippet varchar, fetched_at timestamp(6)"
    ),
    """
SELECT p.run_id, p.task_id, p.run_date, p.source, p.locale, p.device, p.keyword, p.page,
       r.rank, r.kind, r.title, r.url, r.domain, r.snippet, p.fetched_at
FROM {unnested}
""",
)

LATEST_RANKS = View(
    "latest_ranks",
    "a domain in the latest whole answer to a keyword",
    columns(
        "keyword varchar, source varchar, locale varchar, device varchar, domain varchar, rank integer, "
        "url varchar, run_id varchar, run_date date, fetched_at timestamp(6), pages integer"
    ),
    ranks.LATEST,
)

RANK_CHANGES = View(
    "rank_changes",
    "a domain that ranked for a keyword in a run, in the one before it, or in both",
    columns(
        "run_id varchar, run_date date, previous_run_id varchar, previous_run_date date, source varchar, "
        "locale varchar, device varchar, keyword varchar, domain varchar, change varchar, rank integer, "
        "previous_rank integer, url varchar, previous_url varchar"
    ),
    ranks.CHANGES,
)

SHARE_OF_VOICE = View(
    "share_of_voice",
    "a domain's share of a run's organic results, each weighing 1/rank",
    columns(
        "run_id varchar, run_date date, source varchar, locale varchar, device varchar, domain varchar, "
        "keywords bigint, results bigint, weight double, share double, first_fetched_at timestamp(6)"
    ),
    ranks.SHARE,
)

REFUSALS = View(
    "refusals",
    "a reason for which a source refused pages of a run",
    columns(
        "run_id varchar, run_date date, source varchar, reason varchar, pages bigint, keywords bigint, "
        "first_refused_at timestamp(6), last_refused_at timestamp(6)"
    ),
    """
SELECT p.run_id, p.run_date, p.source, p.reason, count(*) AS pages, count(DISTINCT p.keyword) AS keywords,
       min(p.fetched_at) AS first_refused_at, max(p.fetched_at) AS last_refused_at
FROM pages AS p
WHERE p.status = 'refused'
GROUP BY p.run_id, p.run_date, p.source, p.reason
""",
)

DRIFT = View(
    "drift",
    "an hour of a source",
    columns(
        "run_date date, source varchar, hour timestamp(6), pages bigint, ok bigint, refused bigint, "
        "failed bigint, unreadable_share double, empty_share double, results bigint, results_a_page double, "
        "no_title_share double, no_url_share double, no_snippet_share double"
    ),
    # A union of two counts, and no join: a condition on the day and the source reaches both.
    """
WITH counted AS (
  SELECT p.run_date, p.source, date_trunc('hour', p.fetched_at) AS hour, count(*) AS pages,
         count_if(p.status = 'ok') AS ok, count_if(p.status = 'refused') AS refused,
         count_if(p.status = 'failed') AS failed, count_if(p.reason = 'unreadable') AS unreadable,
         count_if(p.status = 'ok' AND coalesce({size}, 0) = 0) AS blank,
         0 AS results, 0 AS no_title, 0 AS no_url, 0 AS no_snippet
  FROM pages AS p
  GROUP BY p.run_date, p.source, date_trunc('hour', p.fetched_at)
  UNION ALL
  SELECT f.run_date, f.source, date_trunc('hour', f.fetched_at), 0, 0, 0, 0, 0, 0, count(*),
         count_if(coalesce(f.title, '') = ''), count_if(coalesce(f.url, '') = ''),
         count_if(coalesce(f.snippet, '') = '')
  FROM results AS f
  GROUP BY f.run_date, f.source, date_trunc('hour', f.fetched_at)
),
summed AS (
  SELECT c.run_date, c.source, c.hour, sum(c.pages) AS pages, sum(c.ok) AS ok, sum(c.refused) AS refused,
         sum(c.failed) AS failed, sum(c.unreadable) AS unreadable, sum(c.blank) AS blank,
         sum(c.results) AS results, sum(c.no_title) AS no_title, sum(c.no_url) AS no_url,
         sum(c.no_snippet) AS no_snippet
  FROM counted AS c
  GROUP BY c.run_date, c.source, c.hour
)
SELECT s.run_date, s.source, s.hour, CAST(s.pages AS bigint) AS pages, CAST(s.ok AS bigint) AS ok,
       CAST(s.refused AS bigint) AS refused, CAST(s.failed AS bigint) AS failed,
       CAST(s.unreadable AS double) / s.pages AS unreadable_share,
       CAST(s.blank AS double) / nullif(s.ok, 0) AS empty_share,
       CAST(s.results AS bigint) AS results,
       CAST(s.results AS double) / nullif(s.ok, 0) AS results_a_page,
       CAST(s.no_title AS double) / nullif(s.results, 0) AS no_title_share,
       CAST(s.no_url AS double) / nullif(s.results, 0) AS no_url_share,
       CAST(s.no_snippet AS double) / nullif(s.results, 0) AS no_snippet_share
FROM summed AS s
""",
)

CLOSURES = View(
    "closures",
    "a closure of a source, from its first refusal until it was open again",
    columns(
        "source varchar, closed_at timestamp(6), reopened_at timestamp(6), minutes double, reason varchar, "
        "refusals integer, still_closed boolean"
    ),
    # A closure that nobody reopened ends where a later one begins: it was over, and nobody had tried.
    """
WITH summed AS (
  SELECT e.source, e.closed_since AS closed_at,
         min(CASE WHEN e.event = 'reopened' THEN e.happened_at END) AS reopened_at,
         min_by(e.reason, e.happened_at) AS reason, max(e.refusals) AS refusals
  FROM closings AS e
  GROUP BY e.source, e.closed_since
)
SELECT s.source, s.closed_at, s.reopened_at,
       date_diff('millisecond', s.closed_at, s.reopened_at) / 6e4 AS minutes, s.reason, s.refusals,
       s.reopened_at IS NULL AND s.closed_at = max(s.closed_at) OVER (PARTITION BY s.source) AS still_closed
FROM summed AS s
""",
)

RUNS = View(
    "runs",
    "a run: the ledger",
    columns(
        "run_id varchar, run_date date, file varchar, parts integer, parts_sharded bigint, lines bigint, "
        "kept bigint, rejected bigint, duplicates bigint, tasks bigint, pages bigint, ok bigint, "
        "refused bigint, failed bigint, missing bigint, complete boolean, file_refused varchar, "
        "first_fetched_at timestamp(6), last_fetched_at timestamp(6)"
    ),
    # A union again, so that pages show up before the row of their part is committed.
    """
WITH counted AS (
  SELECT h.run_id, h.run_date, h.file, h.parts, 1 AS sharded, h.lines, h.kept, h.rejected, h.duplicates,
         h.tasks, 0 AS pages, 0 AS ok, 0 AS refused, 0 AS failed, nullif(h.refused, '') AS file_refused,
         CAST(NULL AS timestamp) AS first_fetched_at, CAST(NULL AS timestamp) AS last_fetched_at
  FROM shards AS h
  UNION ALL
  SELECT p.run_id, p.run_date, CAST(NULL AS varchar), CAST(NULL AS integer), 0, CAST(NULL AS bigint),
         CAST(NULL AS bigint), CAST(NULL AS bigint), CAST(NULL AS bigint), CAST(NULL AS bigint), count(*),
         count_if(p.status = 'ok'), count_if(p.status = 'refused'), count_if(p.status = 'failed'),
         CAST(NULL AS varchar), min(p.fetched_at), max(p.fetched_at)
  FROM pages AS p
  GROUP BY p.run_id, p.run_date
)
SELECT c.run_id, c.run_date, max(c.file) AS file, max(c.parts) AS parts,
       CAST(sum(c.sharded) AS bigint) AS parts_sharded, CAST(sum(c.lines) AS bigint) AS lines,
       CAST(sum(c.kept) AS bigint) AS kept, CAST(sum(c.rejected) AS bigint) AS rejected,
       CAST(sum(c.duplicates) AS bigint) AS duplicates, CAST(sum(c.tasks) AS bigint) AS tasks,
       CAST(sum(c.pages) AS bigint) AS pages, CAST(sum(c.ok) AS bigint) AS ok,
       CAST(sum(c.refused) AS bigint) AS refused, CAST(sum(c.failed) AS bigint) AS failed,
       CAST(sum(c.tasks) - sum(c.pages) AS bigint) AS missing,
       coalesce(sum(c.sharded) = max(c.parts) AND sum(c.pages) = sum(c.tasks), false) AS complete,
       max(c.file_refused) AS file_refused, min(c.first_fetched_at) AS first_fetched_at,
       max(c.last_fetched_at) AS last_fetched_at
FROM counted AS c
GROUP BY c.run_id, c.run_date
""",
)

VIEWS = (RESULTS, RUNS, LATEST_RANKS, RANK_CHANGES, SHARE_OF_VOICE, REFUSALS, CLOSURES, DRIFT)
"""In the order in which they build on each other."""
