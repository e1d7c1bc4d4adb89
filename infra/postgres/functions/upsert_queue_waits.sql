-- Recomputes the waits of each queue zone and minute in which a visit ended that changed since the
-- newest change that queue_minute itself records, or in which such a visit had ended before it
-- continued. Staff and withdrawn visits do not count.
-- Reads: zone_visits.
-- Writes: queue_minute (waits, wait_p50, wait_p95 in seconds), key (branch_id, camera_id, zone_id,
-- minute).
-- Returns: nothing.
CREATE OR REPLACE FUNCTION upsert_queue_waits() RETURNS void LANGUAGE sql AS $$
    INSERT INTO queue_minute AS q (branch_id, camera_id, zone_id, minute, waits, wait_p50,
        wait_p95, visits_change_id, updated_at)
    WITH changed AS (
        SELECT v.branch_id, v.camera_id, v.zone_id, date_trunc('minute', ended) AS minute,
            max(v.change_id) AS change_id
        FROM zone_visits v
        CROSS JOIN unnest(v.earlier_ends || CASE WHEN NOT v.is_open THEN v.exited_at END) AS ended
        WHERE v.kind = 'queue' AND ended IS NOT NULL
            AND v.change_id > (SELECT coalesce(max(visits_change_id), 0) FROM queue_minute)
        GROUP BY 1, 2, 3, 4
    )
    SELECT c.branch_id, c.camera_id, c.zone_id, c.minute, count(*) FILTER (WHERE counts),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY v.dwell_seconds) FILTER (WHERE counts),
        percentile_cont(0.95) WITHIN GROUP (ORDER BY v.dwell_seconds) FILTER (WHERE counts),
        greatest(max(v.change_id), c.change_id), now()
    FROM changed c LEFT JOIN (
        SELECT *, NOT is_staff AND NOT withdrawn AS counts FROM zone_visits
        WHERE NOT is_open AND kind = 'queue'
    ) v ON v.branch_id = c.branch_id AND v.camera_id = c.camera_id AND v.zone_id = c.zone_id
        AND v.exited_at >= c.minute AND v.exited_at < c.minute + interval '1 minute'
    GROUP BY c.branch_id, c.camera_id, c.zone_id, c.minute, c.change_id
    ON CONFLICT (branch_id, camera_id, zone_id, minute) DO UPDATE SET
        waits = EXCLUDED.waits, wait_p50 = EXCLUDED.wait_p50, wait_p95 = EXCLUDED.wait_p95,
        visits_change_id = EXCLUDED.visits_change_id, updated_at = EXCLUDED.updated_at,
        change_id = nextval('changes')
$$;
