-- One branch in one of the last 60 minutes. Key: branch_id, minute.
SELECT b.branch_id, m.minute, sum(m.entries)::bigint AS entries, sum(m.orders)::bigint AS orders
FROM branch b CROSS JOIN LATERAL (
    SELECT f.minute, f.entries, 0 AS orders FROM footfall_minute f
    WHERE f.branch_id = b.branch_id
        AND f.minute >= date_trunc('minute', now()) - interval '59 minutes'
    UNION ALL
    SELECT date_trunc('minute', o.created_at), 0, 1 FROM orders_processed o
    WHERE o.branch_id = b.branch_id AND o.is_return IS NOT TRUE AND o.created_at <= now()
        AND o.created_at >= date_trunc('minute', now()) - interval '59 minutes'
) m GROUP BY 1, 2 ORDER BY 1, 2
