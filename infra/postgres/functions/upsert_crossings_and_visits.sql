-- Writes recomputed crossings and visits; restate_cameras() counts the minutes itself. Unlike
-- insert_crossings(), a crossing that exists is replaced.
-- Reads: pg_temp.seen_crossings and pg_temp.seen_visits, one row per key.
-- Writes: line_crossings, zone_visits; unchanged rows keep their change_id.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION upsert_crossings_and_visits() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
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
    WHERE (c.kind, c.direction, c.is_staff, c.layout_version, c.withdrawn, c.group_id,
        c.group_entered_at) IS DISTINCT FROM (EXCLUDED.kind, EXCLUDED.direction,
        EXCLUDED.is_staff, EXCLUDED.layout_version, false, EXCLUDED.group_id,
        EXCLUDED.group_entered_at);
    PERFORM upsert_visits();
END $$;
