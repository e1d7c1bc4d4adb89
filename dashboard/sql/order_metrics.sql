-- Orders of the day shown by their present status. Key: branch_id, currency.
SELECT m.branch_id, m.currency, sum(m.order_count)::bigint AS orders,
    sum(m.pending_count)::bigint AS pending, sum(m.processing_count)::bigint AS processing,
    sum(m.completed_count)::bigint AS completed, sum(m.cancelled_count)::bigint AS cancelled,
    sum(m.return_count)::bigint AS returns,
    sum(m.total_revenue) AS revenue, sum(m.net_revenue) AS net_revenue
FROM branch b JOIN order_metrics m ON m.branch_id = b.branch_id
    AND m.hour BETWEEN (coalesce(%(day)s::date, current_date) - 2)::timestamptz AND (coalesce(%(day)s::date, current_date) + 3)::timestamptz
    AND m.hour >= b.today::timestamp AT TIME ZONE b.timezone
    AND m.hour < (b.today + 1)::timestamp AT TIME ZONE b.timezone
GROUP BY m.branch_id, m.currency ORDER BY m.branch_id, orders DESC, m.currency
