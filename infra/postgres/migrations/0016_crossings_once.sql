-- Entries and exits of a minute are those crossings that were new to line_crossings.
-- depends: 0013_restate_cameras

-- Inserts pg_temp.seen_crossings, of which each key is there once. A key that line_crossings has
-- stays as it is, unless a restatement took it back. What was inserted at entrances, staff left
-- out, goes to pg_temp.frame_counts, from which upsert_footfall_minute() counts: so the minutes and
-- the crossings agree whatever a tracker sends.
CREATE FUNCTION insert_crossings() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH inserted AS (
        INSERT INTO line_crossings AS c (branch_id, camera_id, run_id, track_id, line_id, kind,
            direction, crossed_at, is_staff, layout_version)
        SELECT s.branch_id, s.camera_id, s.run_id, s.track_id, s.line_id, s.kind, s.direction,
            s.crossed_at, s.is_staff, s.layout_version
        FROM pg_temp.seen_crossings s
        ON CONFLICT (camera_id, run_id, track_id, line_id, crossed_at) DO UPDATE SET
            kind = EXCLUDED.kind, direction = EXCLUDED.direction, is_staff = EXCLUDED.is_staff,
            layout_version = EXCLUDED.layout_version, withdrawn = false,
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

-- Writes pg_temp.seen_visits by their keys, of which each is there once.
CREATE FUNCTION upsert_visits() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO zone_visits AS v (branch_id, camera_id, run_id, track_id, zone_id, kind,
        entered_at, exited_at, is_open, is_staff, layout_version, updated_at)
    SELECT s.branch_id, s.camera_id, s.run_id, s.track_id, s.zone_id, s.kind, s.entered_at,
        s.exited_at, s.is_open, s.is_staff, s.layout_version, now()
    FROM pg_temp.seen_visits s
    ON CONFLICT (camera_id, run_id, track_id, zone_id, entered_at) DO UPDATE SET
        kind = EXCLUDED.kind, exited_at = EXCLUDED.exited_at, is_open = EXCLUDED.is_open,
        is_staff = EXCLUDED.is_staff, layout_version = EXCLUDED.layout_version,
        withdrawn = false, updated_at = EXCLUDED.updated_at,
        -- Only the beginning and the end of a visit are replicated, not each frame of it.
        change_id = CASE WHEN v.is_open AND EXCLUDED.is_open AND NOT v.withdrawn
            AND v.is_staff = EXCLUDED.is_staff THEN v.change_id ELSE nextval('changes') END
    WHERE (v.kind, v.exited_at, v.is_open, v.is_staff, v.layout_version, v.withdrawn)
        IS DISTINCT FROM (EXCLUDED.kind, EXCLUDED.exited_at, EXCLUDED.is_open,
            EXCLUDED.is_staff, EXCLUDED.layout_version, false);
END $$;

-- For restate_cameras(), which counts the minutes anew itself: crossings are replaced.
CREATE OR REPLACE FUNCTION upsert_crossings_and_visits() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO line_crossings AS c (branch_id, camera_id, run_id, track_id, line_id, kind,
        direction, crossed_at, is_staff, layout_version)
    SELECT s.branch_id, s.camera_id, s.run_id, s.track_id, s.line_id, s.kind, s.direction,
        s.crossed_at, s.is_staff, s.layout_version
    FROM pg_temp.seen_crossings s
    ON CONFLICT (camera_id, run_id, track_id, line_id, crossed_at) DO UPDATE SET
        kind = EXCLUDED.kind, direction = EXCLUDED.direction, is_staff = EXCLUDED.is_staff,
        layout_version = EXCLUDED.layout_version, withdrawn = false,
        change_id = nextval('changes')
    WHERE (c.kind, c.direction, c.is_staff, c.layout_version, c.withdrawn) IS DISTINCT FROM
        (EXCLUDED.kind, EXCLUDED.direction, EXCLUDED.is_staff, EXCLUDED.layout_version, false);
    PERFORM upsert_visits();
END $$;
