-- Writes zone visits; a key that exists is replaced when something differs. Where a closed visit
-- opens again or ends at another time, its earlier end is kept: a wait was counted then.
-- Reads: pg_temp.seen_visits, one row per key.
-- Writes: zone_visits, key (camera_id, run_id, track_id, zone_id, entered_at).
-- Returns: nothing.
CREATE OR REPLACE FUNCTION upsert_visits() RETURNS void LANGUAGE plpgsql AS $$
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
        earlier_ends = CASE WHEN v.is_open
            OR NOT EXCLUDED.is_open AND v.exited_at = EXCLUDED.exited_at
            THEN v.earlier_ends ELSE v.earlier_ends || v.exited_at END,
        -- Only the beginning and the end of a visit are replicated, not each frame of it.
        change_id = CASE WHEN v.is_open AND EXCLUDED.is_open AND NOT v.withdrawn
            AND v.is_staff = EXCLUDED.is_staff THEN v.change_id ELSE nextval('changes') END
    WHERE (v.kind, v.exited_at, v.is_open, v.is_staff, v.layout_version, v.withdrawn)
        IS DISTINCT FROM (EXCLUDED.kind, EXCLUDED.exited_at, EXCLUDED.is_open,
            EXCLUDED.is_staff, EXCLUDED.layout_version, false);
END $$;
