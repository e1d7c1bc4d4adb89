-- An open order without an event for `stuck_after`; the oldest 20. Key: order_id.
-- alarm_at: of order_status_tracker; NULL: no alarm yet.
-- of_all: the number of such orders.
SELECT o.order_id, o.branch_id, o.status, o.currency, o.total_price,
    o.last_event_at AS untouched_since, h.changed_at AS alarm_at, o.of_all
FROM (
    SELECT *, count(*) OVER () AS of_all FROM (
        SELECT order_id, branch_id, status, currency, total_price, last_event_at
        FROM orders_processed
        WHERE status IN ('pending', 'processing')
            AND last_event_at <= now() - %(stuck_after)s::interval
    ) untouched ORDER BY last_event_at, order_id LIMIT 20
) o LEFT JOIN LATERAL (
    SELECT max(changed_at) AS changed_at FROM order_status_history h
    WHERE h.order_id = o.order_id AND h.anomaly = 'stuck'
) h ON true
ORDER BY o.last_event_at, o.order_id
