-- What went up or down, entered or left since the run before?
SELECT run_date, source, locale, device, keyword, domain, change, previous_rank, rank, previous_url, url
FROM rank_changes
WHERE change <> 'same' AND run_date >= date_add('day', -7, current_date)
ORDER BY run_date DESC, abs(coalesce(previous_rank, 0) - coalesce(rank, 0)) DESC, keyword, domain
LIMIT 1000
