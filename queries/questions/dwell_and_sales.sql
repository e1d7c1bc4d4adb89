-- Where people linger, does the branch sell what stands there?
-- Minutes that people who are not staff spent in a zone, beside the sales of each category in the
-- same hours. Compare one zone over its categories, or one category over the zones; a change of the
-- figure after shelves were moved is worth more than its size.
WITH dwell AS (
    SELECT
        branch_id, zone_id, DATE_TRUNC('HOUR', entered_at) AS hour,
        COUNT(*) AS visits, CAST(SUM(dwell_seconds) AS DOUBLE) / 60 AS minutes
    FROM analyst.zone_visits
    WHERE kind = 'browse' AND NOT is_staff AND NOT is_open
    GROUP BY branch_id, zone_id, DATE_TRUNC('HOUR', entered_at)
),
sales AS (
    SELECT
        branch_id, category, currency, DATE_TRUNC('HOUR', created_at) AS hour,
        SUM(quantity * unit_price - COALESCE(discount, 0)) AS revenue
    FROM analyst.order_lines
    WHERE status <> 'cancelled' AND NOT COALESCE(is_return, FALSE)
    GROUP BY branch_id, category, currency, DATE_TRUNC('HOUR', created_at)
)
SELECT
    d.branch_id, d.zone_id, s.category, s.currency, COUNT(*) AS hours, SUM(d.visits) AS visits,
    SUM(d.minutes) AS dwell_minutes, SUM(s.revenue) AS revenue,
    CAST(SUM(s.revenue) AS DOUBLE) / NULLIF(SUM(d.minutes), 0) AS revenue_per_dwell_minute
FROM dwell AS d JOIN sales AS s ON s.branch_id = d.branch_id AND s.hour = d.hour
GROUP BY d.branch_id, d.zone_id, s.category, s.currency
ORDER BY d.branch_id, d.zone_id, s.category, s.currency
