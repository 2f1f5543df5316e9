-- Where does a domain rank now? Put it in place of www.example.com.
SELECT keyword, source, locale, device, rank, url, run_date
FROM latest_ranks
WHERE domain = 'www.example.com'
ORDER BY rank, keyword
