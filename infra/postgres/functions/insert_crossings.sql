-- Inserts crossings. A key that exists is left unchanged, unless a recomputation had withdrawn it.
-- What was inserted at entrances, staff excluded, is added to pg_temp.frame_counts, which
-- upsert_footfall_minute() counts: so minutes and crossings agree whatever a tracker sends.
-- Reads: pg_temp.seen_crossings, one row per key.
-- Writes: line_crossings, key (camera_id, run_id, track_id, line_id, crossed_at);
-- pg_temp.frame_counts.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION insert_crossings() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH inserted AS (
        INSERT INTO line_crossings AS c (branch_id, camera_id, run_id, track_id, line_id, kind,
            direction, crossed_at, is_staff, layout_version, group_id, group_entered_at)
        SELECT s.branch_id, s.camera_id, s.run_id, s.track_id, s.line_id, s.kind, s.direction,
            s.crossed_at, s.is_staff, s.layout_version, s.group_id, s.group_entered_at
        FROM pg_temp.seen_crossings s
        ON CONFLICT (camera_id, run_id, track_id, line_id, crossed_at) DO UPDATE SET
            kind = EXCLUDED.kind, direction = EXCLUDED.direction, is_staff = EXCLUDED.is_staff,
            layout_version = EXCLUDED.layout_version, withdrawn = false,
            group_id = EXCLUDED.group_id, group_entered_at = EXCLUDED.group_entered_at,
            change_id = nextval('changes')
        WHERE c.withdrawn
        RETURNING c.branch_id, c.camera_id, c.kind, c.direction, c.crossed_at, c.is_staff
    )
    INSERT INTO pg_temp.frame_counts
        (branch_id, camera_id, captured_at, entries, exits, frames, late_frames, people)
    SELECT i.branch_id, i.camera_id, i.crossed_at, (i.direction = 'entry')::int,
        (i.direction = 'exit')::int, 0, 0, 0
    FROM inserted i WHERE i.kind = 'entrance' AND NOT i.is_staff;
END $$;
