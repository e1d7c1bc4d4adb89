-- Which hours still lack orders that came too late, until somebody restates them?
-- Orders that were accepted more than an hour after their hour had ended wait in quarantine;
-- `storelake restate orders` applies them. The list includes what was restated.
SELECT
    o.branch_id, DATE_TRUNC('HOUR', o.created_at) AS hour, o.currency, COUNT(*) AS events,
    COUNT(DISTINCT o.order_id) AS orders, SUM(o.total_price) AS revenue,
    MIN(DATE_DIFF('MINUTE', DATE_TRUNC('MINUTE', o.event_time), DATE_TRUNC('MINUTE', l."timestamp")))
        AS least_minutes_late,
    MAX(DATE_DIFF('MINUTE', DATE_TRUNC('MINUTE', o.event_time), DATE_TRUNC('MINUTE', l."timestamp")))
        AS most_minutes_late
FROM quarantine.late_events AS l
JOIN silver.orders AS o
    ON o.topic = l.topic AND o."partition" = l."partition" AND o."position" = l."position"
GROUP BY o.branch_id, DATE_TRUNC('HOUR', o.created_at), o.currency
ORDER BY o.branch_id, hour, o.currency
