-- At which hours of the day do visitors buy?
-- Hours are those of the clock in the branch. Orders made in the shop, cancelled ones left out of
-- the net rate. Hours whose own rate is withheld are left out; `withheld` has one of their reasons.
SELECT
    branch_id,
    EXTRACT(HOUR FROM local_hour) AS hour_of_day,
    COUNT(*) AS hours,
    COUNT(*) FILTER (WHERE conversion_withheld IS NULL) AS trusted_hours,
    SUM(visitors) FILTER (WHERE conversion_withheld IS NULL) AS visitors,
    SUM(orders_in_store) FILTER (WHERE conversion_withheld IS NULL) AS orders,
    CAST(SUM(orders_in_store) FILTER (WHERE conversion_withheld IS NULL) AS DOUBLE)
        / SUM(visitors) FILTER (WHERE conversion_withheld IS NULL) AS conversion_rate,
    CAST(SUM(orders_in_store_net) FILTER (WHERE conversion_withheld IS NULL) AS DOUBLE)
        / SUM(visitors) FILTER (WHERE conversion_withheld IS NULL) AS conversion_rate_net,
    CAST(SUM(revenue_in_store) FILTER (WHERE conversion_withheld IS NULL) AS DOUBLE)
        / SUM(visitors) FILTER (WHERE conversion_withheld IS NULL) AS revenue_per_visitor,
    CAST(SUM(orders_in_store) FILTER (WHERE conversion_by_groups IS NOT NULL) AS DOUBLE)
        / SUM(groups) FILTER (WHERE conversion_by_groups IS NOT NULL) AS conversion_by_groups,
    MIN(currency) AS currency,
    MIN(camera_coverage) AS least_coverage,
    MIN(conversion_withheld) AS withheld
FROM analyst.store_hourly
GROUP BY branch_id, EXTRACT(HOUR FROM local_hour)
ORDER BY branch_id, hour_of_day
