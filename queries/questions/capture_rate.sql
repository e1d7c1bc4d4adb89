-- How many of the people who pass by come in, and do they come alone?
-- By the clock in the branch. A branch without a line of the kind `passing` is left out, and so are
-- hours whose own rate is withheld, since the cameras saw too little. `capture_rate` is visitors by
-- visitors and passers-by together.
SELECT
    branch_id, EXTRACT(HOUR FROM local_hour) AS hour_of_day, COUNT(*) AS hours,
    SUM(passers_by) AS passers_by, SUM(visitors) AS visitors,
    CAST(SUM(visitors) AS DOUBLE) / NULLIF(SUM(visitors) + SUM(passers_by), 0) AS capture_rate,
    SUM(groups) AS groups,
    CAST(SUM(visitors) AS DOUBLE) / NULLIF(SUM(groups), 0) AS people_per_group
FROM analyst.store_hourly
WHERE capture_rate IS NOT NULL
GROUP BY branch_id, EXTRACT(HOUR FROM local_hour)
ORDER BY branch_id, hour_of_day
