-- When was a camera blind between two minutes in which it saw?
-- From the end of the last minute with a frame to the next one with a frame, UTC; the longest comes
-- first. Visitors of such minutes are in no figure.
WITH seen AS (
    SELECT
        branch_id, camera_id, minute,
        LAG(minute) OVER (PARTITION BY branch_id, camera_id ORDER BY minute) AS last_seen
    FROM analyst.footfall_minute
)
SELECT
    branch_id, camera_id, last_seen + INTERVAL '1' MINUTE AS blind_from, minute AS blind_until,
    DATE_DIFF('MINUTE', last_seen, minute) - 1 AS blind_minutes
FROM seen
WHERE DATE_DIFF('MINUTE', last_seen, minute) > 1
ORDER BY blind_minutes DESC, branch_id, camera_id, blind_from
