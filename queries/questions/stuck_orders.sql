-- Which orders has nobody touched for a day, and what are they worth?
-- An alarm whose order has moved since is not shown; the oldest comes first.
SELECT
    s.order_id, s.branch_id, o.status, s.previous_changed_at AS untouched_since,
    s.changed_at AS alarm_at, o.created_at_local, o.total_price, o.currency
FROM analyst.order_status AS s JOIN analyst.orders AS o ON o.order_id = s.order_id
WHERE s.anomaly = 'stuck'
    AND o.status NOT IN ('completed', 'cancelled')
    AND o.last_event_at <= s.previous_changed_at
ORDER BY untouched_since, s.order_id
