-- Adds the queue lengths of one batch to their minutes.
-- Reads: pg_temp.queue_lengths (branch_id, camera_id, zone_id, captured_at, people), one row per
-- frame and queue zone.
-- Writes: queue_minute (frames, people, length_max), key (branch_id, camera_id, zone_id, minute).
-- Returns: nothing.
CREATE OR REPLACE FUNCTION upsert_queue_lengths() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO queue_minute AS q (branch_id, camera_id, zone_id, minute, frames, people,
        length_max, updated_at)
    SELECT l.branch_id, l.camera_id, l.zone_id, date_trunc('minute', l.captured_at), count(*),
        sum(l.people), max(l.people), now()
    FROM pg_temp.queue_lengths l GROUP BY 1, 2, 3, 4
    ON CONFLICT (branch_id, camera_id, zone_id, minute) DO UPDATE SET
        frames = q.frames + EXCLUDED.frames,
        people = q.people + EXCLUDED.people,
        length_max = greatest(q.length_max, EXCLUDED.length_max),
        updated_at = EXCLUDED.updated_at,
        change_id = nextval('changes');
END $$;
