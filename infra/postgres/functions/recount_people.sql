-- Recounts passers-by and groups in the minutes in which the staged tracks passed or their groups
-- entered: who has passed may enter later, or turn out to be staff.
-- Reads: pg_temp.seen_crossings, pg_temp.seen_staff; line_crossings, which has them already.
-- Writes: footfall_minute (passers_by, groups); unchanged rows keep their change_id.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION recount_people() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH track AS (
        SELECT camera_id, run_id, track_id FROM pg_temp.seen_crossings
        UNION SELECT camera_id, run_id, track_id FROM pg_temp.seen_staff
    ), touched AS (
        SELECT DISTINCT c.branch_id, c.camera_id,
            date_trunc('minute', coalesce(c.group_entered_at, c.crossed_at)) AS minute
        FROM track t JOIN line_crossings c USING (camera_id, run_id, track_id)
        WHERE c.kind = 'passing' OR c.group_entered_at IS NOT NULL
    )
    UPDATE footfall_minute f SET
        passers_by = n.passers_by, groups = n.groups, revision = f.revision + 1,
        updated_at = now(), change_id = nextval('changes')
    FROM touched t CROSS JOIN LATERAL count_people(t.camera_id, t.minute) n
    WHERE f.branch_id = t.branch_id AND f.camera_id = t.camera_id AND f.minute = t.minute
        AND (f.passers_by, f.groups) IS DISTINCT FROM (n.passers_by, n.groups);
END $$;
