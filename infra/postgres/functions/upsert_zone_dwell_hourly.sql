-- Recomputes the dwell of each zone and hour whose finished visits changed since the newest change
-- that zone_dwell_hourly itself records. Staff and withdrawn visits do not count.
-- Reads: zone_visits.
-- Writes: zone_dwell_hourly (dwell in seconds), key (branch_id, camera_id, zone_id, hour), the UTC
-- hour in which a visit began.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION upsert_zone_dwell_hourly() RETURNS void LANGUAGE sql AS $$
    INSERT INTO zone_dwell_hourly AS d (branch_id, camera_id, zone_id, hour, visits, dwell_mean,
        dwell_p50, dwell_p95, visits_change_id, updated_at)
    WITH changed AS (
        SELECT DISTINCT v.branch_id, v.camera_id, v.zone_id,
            date_trunc('hour', v.entered_at, 'UTC') AS hour
        FROM zone_visits v
        WHERE NOT v.is_open
            AND v.change_id > (SELECT coalesce(max(visits_change_id), 0) FROM zone_dwell_hourly)
    )
    SELECT c.branch_id, c.camera_id, c.zone_id, c.hour, count(*) FILTER (WHERE counts),
        avg(v.dwell_seconds) FILTER (WHERE counts),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY v.dwell_seconds) FILTER (WHERE counts),
        percentile_cont(0.95) WITHIN GROUP (ORDER BY v.dwell_seconds) FILTER (WHERE counts),
        max(v.change_id), now()
    FROM changed c JOIN (
        SELECT *, NOT is_staff AND NOT withdrawn AS counts FROM zone_visits WHERE NOT is_open
    ) v ON v.branch_id = c.branch_id AND v.camera_id = c.camera_id AND v.zone_id = c.zone_id
        AND v.entered_at >= c.hour AND v.entered_at < c.hour + interval '1 hour'
    GROUP BY c.branch_id, c.camera_id, c.zone_id, c.hour
    ON CONFLICT (branch_id, camera_id, zone_id, hour) DO UPDATE SET
        visits = EXCLUDED.visits, dwell_mean = EXCLUDED.dwell_mean,
        dwell_p50 = EXCLUDED.dwell_p50, dwell_p95 = EXCLUDED.dwell_p95,
        visits_change_id = EXCLUDED.visits_change_id, updated_at = EXCLUDED.updated_at,
        change_id = nextval('changes')
$$;
