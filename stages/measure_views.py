"""The views over ``measurements``: what came back, how long environments live, how a tree spreads.

Apart from the others, since the table is only there where something was measured. Percentiles are by
the nearest rank and counted here: what the dialects call approximate differs between them.
"""

from __future__ import annotations

from stages.views import View, columns

LATE_S, LATE = 120.0, 0.1
"""By how much a rest may miss its pause, in seconds and as a share, and still be told as that pause."""

_BEFORE = "OVER (PARTITION BY m.experiment, m.function ORDER BY m.slot)"

_SAME = "o.environment = o.environment_before"

_RESTED = f"CASE WHEN {_SAME} THEN o.rest_s END"

# A probe beside the one planned before it of its copy, as in figures.steps: which of them prove something.
_VERDICT = f"""CASE
           WHEN o.slot_before IS NULL OR o.slot_before <> o.slot - 1 THEN 'unpaired'
           WHEN o.invocation <> CASE WHEN {_SAME} THEN o.invocation_before + 1 ELSE 1 END
             OR o.fired > 1 OR o.fired_before > 1 OR o.rested_s < 0
             OR abs(o.rested_s - o.pause_s) > greatest({LATE_S}, {LATE} * o.pause_s) THEN 'disturbed'
           WHEN {_SAME} THEN 'kept'
           ELSE 'new' END"""

# count_if of nothing but NULL is 0 in Trino and NULL in DuckDB.
_PROVEN = "v.verdict IN ('kept', 'new')"
_ADDRESSED = f"{_PROVEN} AND v.address IS NOT NULL AND v.address_before IS NOT NULL"

LIFETIMES = View(
    "lifetimes",
    "a pause of a function copy in an experiment, and what was still there after it",
    columns(
        "experiment varchar, function varchar, pause_s double, probes bigint, same_environment bigint, "
        "kept_share double, addresses bigint, same_address bigint, address_share double, rested_s double, "
        "disturbed bigint, unpaired bigint, first_started_at timestamp(6), last_started_at timestamp(6)"
    ),
    # A first probe has nothing before it to be compared with; one without an address, no address.
    f"""
WITH placed AS (
  SELECT m.experiment, m.function, m.pause_s, m.slot, m.environment, m.invocation, m.rest_s, m.address,
         m.started_at, coalesce(m.fired, 1) AS fired,
         lag(m.slot) {_BEFORE} AS slot_before,
         lag(m.environment) {_BEFORE} AS environment_before,
         lag(m.invocation) {_BEFORE} AS invocation_before,
         lag(m.address) {_BEFORE} AS address_before,
         lag(m.finished_at) {_BEFORE} AS finished_before,
         lag(coalesce(m.fired, 1)) {_BEFORE} AS fired_before
  FROM measurements AS m
  WHERE m.kind = 'lifetime'
),
ordered AS (
  SELECT o.*, coalesce({_RESTED}, date_diff('millisecond', o.finished_before, o.started_at) / 1e3)
           AS rested_s
  FROM placed AS o
  WHERE o.pause_s IS NOT NULL
),
judged AS (
  SELECT o.experiment, o.function, o.pause_s, o.address, o.address_before, o.rested_s, o.started_at,
         {_VERDICT} AS verdict
  FROM ordered AS o
)
SELECT v.experiment, v.function, v.pause_s, count(CASE WHEN {_PROVEN} THEN 1 END) AS probes,
       count(CASE WHEN v.verdict = 'kept' THEN 1 END) AS same_environment,
       CAST(count(CASE WHEN v.verdict = 'kept' THEN 1 END) AS double)
         / nullif(count(CASE WHEN {_PROVEN} THEN 1 END), 0) AS kept_share,
       count(CASE WHEN {_ADDRESSED} THEN 1 END) AS addresses,
       count(CASE WHEN {_ADDRESSED} AND v.address = v.address_before THEN 1 END) AS same_address,
       CAST(count(CASE WHEN {_ADDRESSED} AND v.address = v.address_before THEN 1 END) AS double)
         / nullif(count(CASE WHEN {_ADDRESSED} THEN 1 END), 0) AS address_share,
       avg(CASE WHEN {_PROVEN} THEN v.rested_s END) AS rested_s,
       count(CASE WHEN v.verdict = 'disturbed' THEN 1 END) AS disturbed,
       count(CASE WHEN v.verdict = 'unpaired' THEN 1 END) AS unpaired,
       min(v.started_at) AS first_started_at, max(v.started_at) AS last_started_at
FROM judged AS v
GROUP BY v.experiment, v.function, v.pause_s
""",  # noqa: S608  # made of constants of this file
)

SCALING = View(
    "scaling",
    "a level of a tree of functions",
    columns(
        "experiment varchar, level integer, probes bigint, environments bigint, new_environments bigint, "
        "most_at_once bigint, boots bigint, addresses bigint, delay_p50_ms double, delay_p90_ms double, "
        "delay_p99_ms double, repeated bigint, errors bigint, first_started_at timestamp(6), "
        "last_finished_at timestamp(6)"
    ),
    # Delays are those of first deliveries: another one comes when the queue hands the message out again.
    # An environment that ends in the moment in which another begins is not at once with it.
    """
WITH steps AS (
  SELECT m.experiment, m.level, m.started_at AS moment, 1 AS change
  FROM measurements AS m
  WHERE m.kind = 'scaling'
  UNION ALL
  SELECT m.experiment, m.level, m.finished_at, -1
  FROM measurements AS m
  WHERE m.kind = 'scaling'
),
running AS (
  SELECT s.experiment, s.level,
         sum(s.change) OVER (PARTITION BY s.experiment, s.level ORDER BY s.moment, s.change) AS at_once
  FROM steps AS s
),
peaks AS (
  SELECT r.experiment, r.level, CAST(max(r.at_once) AS bigint) AS most_at_once
  FROM running AS r
  GROUP BY r.experiment, r.level
),
placed AS (
  SELECT m.experiment, m.level, m.environment, m.cold, m.boot_id, m.address, m.delay_ms, m.receives, m.error,
         m.started_at, m.finished_at,
         CASE WHEN m.receives = 1 THEN row_number()
           OVER (PARTITION BY m.experiment, m.level, m.receives ORDER BY m.delay_ms) END AS place,
         count(CASE WHEN m.receives = 1 THEN 1 END) OVER (PARTITION BY m.experiment, m.level) AS once
  FROM measurements AS m
  WHERE m.kind = 'scaling'
)
SELECT p.experiment, p.level, count(*) AS probes, count(DISTINCT p.environment) AS environments,
       count(DISTINCT CASE WHEN p.cold THEN p.environment END) AS new_environments,
       max(k.most_at_once) AS most_at_once, count(DISTINCT nullif(p.boot_id, '')) AS boots,
       count(DISTINCT p.address) AS addresses,
       min(CASE WHEN 2 * p.place >= p.once THEN p.delay_ms END) AS delay_p50_ms,
       min(CASE WHEN 10 * p.place >= 9 * p.once THEN p.delay_ms END) AS delay_p90_ms,
       min(CASE WHEN 100 * p.place >= 99 * p.once THEN p.delay_ms END) AS delay_p99_ms,
       count(CASE WHEN p.receives > 1 THEN 1 END) AS repeated, count(p.error) AS errors,
       min(p.started_at) AS first_started_at, max(p.finished_at) AS last_finished_at
FROM placed AS p
JOIN peaks AS k
  ON k.experiment = p.experiment AND k.level = p.level
GROUP BY p.experiment, p.level
""",
)

EXPERIMENTS = View(
    "experiments",
    "an experiment, what it was asked for and what came back",
    columns(
        "experiment varchar, kind varchar, probes bigint, planned integer, missing bigint, tree varchar, "
        "hold_s double, account_limit integer, most_at_once bigint, environments bigint, boots bigint, "
        "repeated bigint, fired_again bigint, errors bigint, first_started_at timestamp(6), "
        "last_finished_at timestamp(6)"
    ),
    """
WITH steps AS (
  SELECT m.experiment, m.started_at AS moment, 1 AS change
  FROM measurements AS m
  UNION ALL
  SELECT m.experiment, m.finished_at, -1
  FROM measurements AS m
),
running AS (
  SELECT s.experiment, sum(s.change) OVER (PARTITION BY s.experiment ORDER BY s.moment, s.change) AS at_once
  FROM steps AS s
),
peaks AS (
  SELECT r.experiment, CAST(max(r.at_once) AS bigint) AS most_at_once
  FROM running AS r
  GROUP BY r.experiment
)
SELECT m.experiment, m.kind, count(*) AS probes, max(m.planned) AS planned,
       max(m.planned) - count(*) AS missing, max(m.tree) AS tree, max(m.hold_s) AS hold_s,
       max(m.account_limit) AS account_limit, max(k.most_at_once) AS most_at_once,
       count(DISTINCT m.environment) AS environments, count(DISTINCT nullif(m.boot_id, '')) AS boots,
       count(CASE WHEN m.receives > 1 THEN 1 END) AS repeated,
       count(CASE WHEN m.fired > 1 THEN 1 END) AS fired_again, count(m.error) AS errors,
       min(m.started_at) AS first_started_at, max(m.finished_at) AS last_finished_at
FROM measurements AS m
JOIN peaks AS k
  ON k.experiment = m.experiment
GROUP BY m.experiment, m.kind
""",
)

MEASURE_VIEWS = (EXPERIMENTS, LIFETIMES, SCALING)
