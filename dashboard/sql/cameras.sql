-- The newest minute in which a camera delivered a frame. Key: camera_id.
SELECT c.camera_id, f.minute, f.people_peak
FROM jsonb_to_recordset(%(cameras)s::jsonb) AS c (branch_id text, camera_id text)
CROSS JOIN LATERAL (
    SELECT minute, people_peak FROM footfall_minute f
    WHERE f.branch_id = c.branch_id AND f.camera_id = c.camera_id AND f.frames > 0
    ORDER BY minute DESC LIMIT 1
) f
