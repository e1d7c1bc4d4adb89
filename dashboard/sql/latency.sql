-- Seconds from the event to its row in Postgres, of the newest 200 that were written in the last
-- 15 minutes: a past that was seeded or imported soon ceases to count. NULL when there is none.
-- Key: stream. Of other streams Postgres has no time of the event beside the time of writing.
SELECT stream,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE recent) AS p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE recent) AS p95
FROM (
    (SELECT 'order_event_processor' AS stream,
        updated_at > now() - interval '15 minutes' AS recent,
        extract(epoch FROM updated_at - last_event_at)::double precision AS seconds
    FROM orders_processed WHERE created_at IS NOT NULL ORDER BY created_at DESC LIMIT 200)
    UNION ALL
    (SELECT 'order_status_tracker', recorded_at > now() - interval '15 minutes',
        extract(epoch FROM recorded_at - changed_at)::double precision
    FROM (
        SELECT recorded_at, changed_at, anomaly FROM order_status_history
        ORDER BY change_id DESC LIMIT 200
    ) h WHERE anomaly IS DISTINCT FROM 'stuck')
    UNION ALL
    (SELECT 'footfall', updated_at > now() - interval '15 minutes',
        extract(epoch FROM updated_at - exited_at)::double precision
    FROM zone_visits WHERE is_open ORDER BY updated_at DESC LIMIT 200)
) newest GROUP BY stream
