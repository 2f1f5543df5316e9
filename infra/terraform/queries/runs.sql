-- Is my run complete, and did the file lose rows?
SELECT run_id, run_date, file, complete, tasks, pages, missing, ok, refused, failed, lines, kept, duplicates, rejected, file_refused
FROM runs
WHERE run_date >= date_add('day', -30, current_date)
ORDER BY run_date DESC, file
