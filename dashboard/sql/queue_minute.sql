-- The newest minute of one queue. Key: camera_id, zone_id.
-- length_mean: people over the frames of that minute; NULL: the minute was withdrawn.
-- waits: visits that ended in the last 15 minutes.
-- wait_p95: the highest of their minutes' 95th percentiles, in seconds.
SELECT z.camera_id, z.zone_id, q.minute, q.length_mean, q.length_max,
    coalesce(w.waits, 0)::bigint AS waits, w.wait_p95
FROM jsonb_to_recordset(%(queues)s::jsonb)
    AS z (branch_id text, camera_id text, zone_id text)
CROSS JOIN LATERAL (
    SELECT * FROM queue_minute q
    WHERE q.branch_id = z.branch_id AND q.camera_id = z.camera_id AND q.zone_id = z.zone_id
    ORDER BY q.minute DESC LIMIT 1
) q CROSS JOIN LATERAL (
    SELECT sum(waits) AS waits, max(wait_p95) AS wait_p95 FROM queue_minute n
    WHERE n.branch_id = z.branch_id AND n.camera_id = z.camera_id AND n.zone_id = z.zone_id
        AND n.minute > now() - interval '15 minutes'
) w
