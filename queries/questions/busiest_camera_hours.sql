-- Which camera sees the most people, and when?
-- By the clock in the branch. Entries are over lines of the kind `entrance`; `most_at_once` also
-- has figures of cameras without one.
SELECT
    branch_id, camera_id, CAST(minute_local AS DATE) AS local_date,
    EXTRACT(HOUR FROM minute_local) AS local_hour,
    COUNT(*) AS minutes_seen, SUM(entries) AS entries, SUM(exits) AS exits,
    MAX(people_peak) AS most_at_once, SUM(frames) AS frames
FROM analyst.footfall_minute
GROUP BY branch_id, camera_id, CAST(minute_local AS DATE), EXTRACT(HOUR FROM minute_local)
ORDER BY most_at_once DESC, entries DESC, branch_id, camera_id, local_date, local_hour
LIMIT 20
