-- What was refused, by whom, and when?
SELECT run_date, source, reason, pages, keywords, first_refused_at, last_refused_at
FROM refusals
WHERE run_date >= date_add('day', -30, current_date)
ORDER BY first_refused_at DESC
