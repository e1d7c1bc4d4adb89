-- Adds the frames of one batch to their minutes.
-- Reads: pg_temp.frame_counts, one row per frame and one per crossing that insert_crossings() has
-- inserted. recount_people() counts passers-by and groups.
-- Writes: footfall_minute, key (branch_id, camera_id, minute).
-- Returns: nothing.
CREATE OR REPLACE FUNCTION upsert_footfall_minute() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO footfall_minute AS f (branch_id, camera_id, minute, entries, exits, frames,
        late_frames, people_peak, passers_by, groups, updated_at)
    SELECT c.branch_id, c.camera_id, date_trunc('minute', c.captured_at), sum(c.entries),
        sum(c.exits), sum(c.frames), sum(c.late_frames), max(c.people), 0, 0, now()
    FROM pg_temp.frame_counts c GROUP BY 1, 2, 3
    HAVING sum(c.entries + c.exits + c.frames + c.late_frames) > 0
    ON CONFLICT (branch_id, camera_id, minute) DO UPDATE SET
        entries = f.entries + EXCLUDED.entries,
        exits = f.exits + EXCLUDED.exits,
        frames = f.frames + EXCLUDED.frames,
        late_frames = f.late_frames + EXCLUDED.late_frames,
        people_peak = greatest(f.people_peak, EXCLUDED.people_peak),
        revision = f.revision + 1,
        updated_at = EXCLUDED.updated_at,
        change_id = nextval('changes');
END $$;
