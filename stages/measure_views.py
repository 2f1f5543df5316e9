"""The views over ``measurements``: how long environments live, and how a tree of functions spreads.

Apart from the others, since the table is only there where something was measured. Percentiles are by
the nearest rank and counted here: what the dialects call approximate differs between them.
"""

from __future__ import annotations

from stages.views import View, columns

_BEFORE = "OVER (PARTITION BY m.experiment, m.function ORDER BY m.started_at, m.probe)"

# count_if of nothing but NULL is 0 in Trino and NULL in DuckDB.
_SAME = "CASE WHEN o.{0} = o.{0}_before THEN 1 END"

LIFETIMES = View(
    "lifetimes",
    "a pause of a function copy in an experiment, and what was still there after it",
    columns(
        "experiment varchar, function varchar, pause_s double, probes bigint, same_environment bigint, "
        "kept_share double, addresses bigint, same_address bigint, address_share double, rested_s double, "
        "first_started_at timestamp(6), last_started_at timestamp(6)"
    ),
    # A first probe has nothing before it to be compared with; one without an address, no address.
    f"""
WITH ordered AS (
  SELECT m.experiment, m.function, m.pause_s, m.environment, m.address, m.started_at, m.error,
         lag(m.environment) {_BEFORE} AS environment_before,
         lag(m.address) {_BEFORE} AS address_before,
         lag(m.finished_at) {_BEFORE} AS finished_before
  FROM measurements AS m
  WHERE m.kind = 'lifetime' AND m.error IS NULL
)
SELECT o.experiment, o.function, o.pause_s, count(*) AS probes,
       count({_SAME.format("environment")}) AS same_environment,
       CAST(count({_SAME.format("environment")}) AS double) / count(*) AS kept_share,
       count(CASE WHEN o.address_before IS NOT NULL THEN o.address END) AS addresses,
       count({_SAME.format("address")}) AS same_address,
       CAST(count({_SAME.format("address")}) AS double)
         / nullif(count(CASE WHEN o.address_before IS NOT NULL THEN o.address END), 0) AS address_share,
       avg(date_diff('millisecond', o.finished_before, o.started_at) / 1e3) AS rested_s,
       min(o.started_at) AS first_started_at, max(o.started_at) AS last_started_at
FROM ordered AS o
WHERE o.pause_s IS NOT NULL AND o.environment_before IS NOT NULL
GROUP BY o.experiment, o.function, o.pause_s
""",  # noqa: S608  # made of constants of this file
)

SCALING = View(
    "scaling",
    "a level of a tree of functions",
    columns(
        "experiment varchar, level integer, probes bigint, environments bigint, new_environments bigint, "
        "most_at_once bigint, hosts bigint, addresses bigint, delay_p50_ms double, delay_p90_ms double, "
        "delay_p99_ms double, repeated bigint, errors bigint, first_started_at timestamp(6), "
        "last_finished_at timestamp(6)"
    ),
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
         row_number() OVER (PARTITION BY m.experiment, m.level ORDER BY m.delay_ms) AS place,
         count(*) OVER (PARTITION BY m.experiment, m.level) AS probes
  FROM measurements AS m
  WHERE m.kind = 'scaling'
)
SELECT p.experiment, p.level, count(*) AS probes, count(DISTINCT p.environment) AS environments,
       count(DISTINCT CASE WHEN p.cold THEN p.environment END) AS new_environments,
       max(k.most_at_once) AS most_at_once, count(DISTINCT nullif(p.boot_id, '')) AS hosts,
       count(DISTINCT p.address) AS addresses,
       min(CASE WHEN 2 * p.place >= p.probes THEN p.delay_ms END) AS delay_p50_ms,
       min(CASE WHEN 10 * p.place >= 9 * p.probes THEN p.delay_ms END) AS delay_p90_ms,
       min(CASE WHEN 100 * p.place >= 99 * p.probes THEN p.delay_ms END) AS delay_p99_ms,
       count(CASE WHEN p.receives > 1 THEN 1 END) AS repeated, count(p.error) AS errors,
       min(p.started_at) AS first_started_at, max(p.finished_at) AS last_finished_at
FROM placed AS p
JOIN peaks AS k
  ON k.experiment = p.experiment AND k.level = p.level
GROUP BY p.experiment, p.level
""",
)

MEASURE_VIEWS = (LIFETIMES, SCALING)
