-- Orders of the day shown whose lines are known, and their units. Key: branch_id.
-- units: pieces; a line by weight or length is one.
SELECT o.branch_id, count(*) FILTER (WHERE i.line_no = 1) AS orders,
    sum(CASE WHEN i.quantity = trunc(i.quantity) THEN i.quantity ELSE 1 END) AS units
FROM branch b JOIN orders_processed o ON o.branch_id = b.branch_id
    AND o.created_at BETWEEN (coalesce(%(day)s::date, current_date) - 2)::timestamptz AND (coalesce(%(day)s::date, current_date) + 3)::timestamptz
    AND o.created_at >= b.today::timestamp AT TIME ZONE b.timezone
    AND o.created_at < (b.today + 1)::timestamp AT TIME ZONE b.timezone
    AND o.is_return IS NOT TRUE
JOIN order_items i ON i.order_id = o.order_id
GROUP BY o.branch_id
