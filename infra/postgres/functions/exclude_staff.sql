-- Marks tracks as staff, their earlier crossings and visits included, and subtracts their entries
-- and exits from the minutes.
-- Reads: pg_temp.seen_staff (branch_id, camera_id, run_id, track_id), one row per staff track.
-- Writes: line_crossings and zone_visits (is_staff); footfall_minute (entries, exits).
-- Returns: nothing.
CREATE OR REPLACE FUNCTION exclude_staff() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH turned AS (
        UPDATE line_crossings c SET is_staff = true, change_id = nextval('changes')
        FROM pg_temp.seen_staff s
        WHERE c.camera_id = s.camera_id AND c.run_id = s.run_id AND c.track_id = s.track_id
            AND NOT c.is_staff AND NOT c.withdrawn
        RETURNING c.branch_id, c.camera_id, c.kind, c.direction, c.crossed_at
    ), less AS (
        SELECT branch_id, camera_id, date_trunc('minute', crossed_at) AS minute,
            count(*) FILTER (WHERE direction = 'entry') AS entries,
            count(*) FILTER (WHERE direction = 'exit') AS exits
        FROM turned WHERE kind = 'entrance' GROUP BY 1, 2, 3
    )
    UPDATE footfall_minute f SET
        entries = f.entries - less.entries, exits = f.exits - less.exits,
        revision = f.revision + 1, updated_at = now(), change_id = nextval('changes')
    FROM less
    WHERE f.branch_id = less.branch_id AND f.camera_id = less.camera_id
        AND f.minute = less.minute;

    UPDATE zone_visits v SET is_staff = true, updated_at = now(), change_id = nextval('changes')
    FROM pg_temp.seen_staff s
    WHERE v.camera_id = s.camera_id AND v.run_id = s.run_id AND v.track_id = s.track_id
        AND NOT v.is_staff;
END $$;
