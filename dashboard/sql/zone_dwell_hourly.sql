-- Finished visits of one zone today. Key: camera_id, zone_id.
-- dwell_mean: of all of them, in seconds.
-- dwell_p95: the highest of the hours' 95th percentiles, in seconds.
SELECT d.camera_id, d.zone_id, sum(d.visits)::bigint AS visits,
    sum(d.visits * d.dwell_mean) / nullif(sum(d.visits), 0) AS dwell_mean,
    max(d.dwell_p95) AS dwell_p95
FROM branch b JOIN zone_dwell_hourly d ON d.branch_id = b.branch_id
    AND d.hour >= b.today::timestamp AT TIME ZONE b.timezone
GROUP BY d.camera_id, d.zone_id
