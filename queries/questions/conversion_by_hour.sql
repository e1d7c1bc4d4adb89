-- Conversion by hour
-- At which hours of the day do visitors buy?
-- Hours are those of the clock in the branch. Where the cameras saw less than nearly all of an hour
-- (`least_coverage` below 1), visitors are missing and the rate is too high.
SELECT
    branch_id,
    EXTRACT(HOUR FROM local_hour) AS hour_of_day,
    COUNT(*) AS hours,
    SUM(visitors) AS visitors,
    SUM(orders) AS orders,
    CAST(SUM(orders) AS DOUBLE) / NULLIF(SUM(visitors), 0) AS conversion_rate,
    CAST(SUM(net_revenue) AS DOUBLE) / NULLIF(SUM(visitors), 0) AS net_revenue_per_visitor,
    MIN(camera_coverage) AS least_coverage
FROM analyst.store_hourly
WHERE visitors IS NOT NULL
GROUP BY branch_id, EXTRACT(HOUR FROM local_hour)
ORDER BY branch_id, hour_of_day
