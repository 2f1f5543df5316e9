-- Did an engine change its page (a field gone, pages that cannot be read)?
SELECT source, hour, pages, unreadable_share, empty_share, results_a_page, no_title_share, no_url_share, no_snippet_share
FROM drift
WHERE run_date >= date_add('day', -7, current_date)
  AND (unreadable_share > 0.05 OR no_title_share > 0.05 OR no_snippet_share > 0.5 OR empty_share > 0.5)
ORDER BY source, hour
