-- Who has the largest share of voice, by source, in the last 30 days of runs?
SELECT run_date, run_id, source, locale, device, domain, keywords, results, round(100 * share, 1) AS percent
FROM share_of_voice
WHERE run_date >= date_add('day', -30, current_date)
ORDER BY run_date DESC, first_fetched_at DESC, run_id, source, share DESC
LIMIT 200
