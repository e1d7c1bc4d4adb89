-- One queue in one of the last 60 minutes, without those withdrawn. Key: camera_id, zone_id, minute.
SELECT z.camera_id, z.zone_id, q.minute, q.length_mean
FROM jsonb_to_recordset(%(queues)s::jsonb) AS z (branch_id text, camera_id text, zone_id text)
JOIN queue_minute q ON q.branch_id = z.branch_id AND q.camera_id = z.camera_id
    AND q.zone_id = z.zone_id AND q.minute > now() - interval '60 minutes'
WHERE q.length_mean IS NOT NULL
ORDER BY z.camera_id, z.zone_id, q.minute DESC
