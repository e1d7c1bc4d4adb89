-- People in one branch after the newest minute of its entrances. Key: branch_id.
-- people: entries less exits since `since`; who was missed at entry, or came before, must not push
-- it below zero, as for store_hourly.occupancy_peak.
SELECT s.branch_id, s.since, f.people
FROM jsonb_to_recordset(%(entrances)s::jsonb)
    AS s (branch_id text, cameras text[], since timestamptz)
CROSS JOIN LATERAL (
    SELECT ((array_agg(m.so_far ORDER BY m.minute DESC))[1] - least(0, min(m.so_far)))::bigint
        AS people
    FROM (
        SELECT minute, sum(sum(entries - exits)) OVER (ORDER BY minute) AS so_far
        FROM footfall_minute
        WHERE branch_id = s.branch_id AND camera_id = ANY (s.cameras) AND minute >= s.since
        GROUP BY minute
    ) m
) f
WHERE f.people IS NOT NULL
