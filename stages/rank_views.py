"""The views that say how domains rank, as SQL that Trino and DuckDB share.

A domain's rank is that of its best organic result, so that another page of the same site taking
over is seen as a changed ``url`` and not as one leaving and one entering. Only whole answers
count: a page that failed, was refused or is still to come proves nobody's absence.
"""

from __future__ import annotations

# Two results may have one rank: page 1 can hold more than its size, and an engine may tell a rank twice.
# The page nearer to the top then names the URL, so that the same answer names the same one each time.
_PLACE = "ROW({of}.rank, {of}.page, coalesce({of}.url, ''))"
_PLACE_F, _PLACE_S = _PLACE.format(of="f"), _PLACE.format(of="s")

# Whole answers: every page that was asked came back ok. How many were asked, no row says: a last page
# that is still to come is seen by its run, which is not complete. Pages are numbered from 1. Of `runs`
# nothing but `complete` is used, which counts rows by run and so reads next to nothing.
_WHOLE = """
  SELECT a.run_id, a.run_date, a.source, a.locale, a.device, a.keyword, a.pages, a.fetched_at
  FROM (
    SELECT p.run_id, p.run_date, p.source, p.locale, p.device, p.keyword,
           max(p.page) AS pages, max(p.fetched_at) AS fetched_at
    FROM pages AS p
    GROUP BY p.run_id, p.run_date, p.source, p.locale, p.device, p.keyword
    HAVING count(*) = max(p.page) AND count_if(p.status = 'ok') = count(*)
  ) AS a
  JOIN runs AS l
    ON l.run_id = a.run_id AND l.run_date = a.run_date
  WHERE l.complete
"""

_HISTORY = "OVER (PARTITION BY w.source, w.locale, w.device, w.keyword ORDER BY w.fetched_at, w.run_id)"

# Both runs are read down to the depth that both asked: page 2 asked once more is no news of page 2.
_SIDE = """
  SELECT c.run_id, c.run_date, c.previous_run_id, c.previous_run_date, c.source, c.locale, c.device,
         c.keyword, f.domain, {now} AS is_now, f.page, f.rank, f.url
  FROM compared AS c
  JOIN results AS f
    ON f.run_id = c.{side}run_id AND f.run_date = c.{side}run_date AND f.source = c.source
       AND f.locale = c.locale AND f.device = c.device AND f.keyword = c.keyword
  WHERE f.page <= c.depth AND f.kind = 'organic' AND f.domain <> ''
"""

LATEST = f"""
WITH whole AS ({_WHOLE}),
numbered AS (
  SELECT w.run_id, w.run_date, w.source, w.locale, w.device, w.keyword, w.pages, w.fetched_at,
         row_number() OVER (
           PARTITION BY w.source, w.locale, w.device, w.keyword ORDER BY w.fetched_at DESC, w.run_id DESC
         ) AS age
  FROM whole AS w
)
SELECT n.keyword, n.source, n.locale, n.device, f.domain, min(f.rank) AS rank,
       min_by(f.url, {_PLACE_F}) AS url, n.run_id, n.run_date, n.fetched_at, n.pages
FROM numbered AS n
JOIN results AS f
  ON f.run_id = n.run_id AND f.run_date = n.run_date AND f.source = n.source AND f.locale = n.locale
     AND f.device = n.device AND f.keyword = n.keyword
WHERE n.age = 1 AND f.kind = 'organic' AND f.domain <> ''
GROUP BY n.keyword, n.source, n.locale, n.device, f.domain, n.run_id, n.run_date, n.fetched_at,
         n.pages
"""  # noqa: S608  # made of constants of this file

CHANGES = f"""
WITH whole AS ({_WHOLE}),
paired AS (
  SELECT w.run_id, w.run_date, w.source, w.locale, w.device, w.keyword, w.pages,
         lag(w.run_id) {_HISTORY} AS previous_run_id,
         lag(w.run_date) {_HISTORY} AS previous_run_date,
         lag(w.pages) {_HISTORY} AS previous_pages
  FROM whole AS w
),
compared AS (
  SELECT q.run_id, q.run_date, q.previous_run_id, q.previous_run_date, q.source, q.locale, q.device,
         q.keyword, least(q.pages, q.previous_pages) AS depth
  FROM paired AS q
  WHERE q.previous_run_id IS NOT NULL
),
sides AS ({_SIDE.format(now="true", side="")}
  UNION ALL{_SIDE.format(now="false", side="previous_")}),
ranks AS (
  SELECT s.run_id, s.run_date, s.previous_run_id, s.previous_run_date, s.source, s.locale, s.device,
         s.keyword, s.domain,
         min(s.rank) FILTER (WHERE s.is_now) AS rank,
         min(s.rank) FILTER (WHERE NOT s.is_now) AS previous_rank,
         min_by(s.url, {_PLACE_S}) FILTER (WHERE s.is_now) AS url,
         min_by(s.url, {_PLACE_S}) FILTER (WHERE NOT s.is_now) AS previous_url
  FROM sides AS s
  GROUP BY s.run_id, s.run_date, s.previous_run_id, s.previous_run_date, s.source, s.locale, s.device,
           s.keyword, s.domain
)
SELECT k.run_id, k.run_date, k.previous_run_id, k.previous_run_date, k.source, k.locale, k.device, k.keyword,
       k.domain,
       CASE WHEN k.previous_rank IS NULL THEN 'entered'
            WHEN k.rank IS NULL THEN 'left'
            WHEN k.rank < k.previous_rank THEN 'up'
            WHEN k.rank > k.previous_rank THEN 'down'
            ELSE 'same' END AS change,
       k.rank, k.previous_rank, k.url, k.previous_url
FROM ranks AS k
"""  # noqa: S608  # made of constants of this file

_MARKET = "OVER (PARTITION BY w.run_id, w.run_date, w.source, w.locale, w.device)"

# 1e0 is a double in both; Trino's 1.0 / rank would be a decimal of one digit.
SHARE = f"""
WITH weighed AS (
  SELECT f.run_id, f.run_date, f.source, f.locale, f.device, f.domain,
         count(DISTINCT f.keyword) AS keywords, count(*) AS results,
         sum(1e0 / greatest(f.rank, 1)) AS weight, min(f.fetched_at) AS first_fetched_at
  FROM results AS f
  WHERE f.kind = 'organic' AND f.domain <> ''
  GROUP BY f.run_id, f.run_date, f.source, f.locale, f.device, f.domain
)
SELECT w.run_id, w.run_date, w.source, w.locale, w.device, w.domain, w.keywords, w.results, w.weight,
       w.weight / sum(w.weight) {_MARKET} AS share, min(w.first_fetched_at) {_MARKET} AS first_fetched_at
FROM weighed AS w
"""  # noqa: S608  # made of constants of this file
