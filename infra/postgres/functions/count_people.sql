-- Passers-by and groups of one camera in one minute, as line_crossings has them; staff excluded.
-- A passer-by is a track that crosses a line of the kind passing and, in its whole run, no
-- entrance; it counts at its first crossing. A group counts in the minute in which its first
-- person entered, as long as one of its people is a visitor.
-- Arguments: p_camera_id; p_minute, its start.
-- Reads: line_crossings.
-- Returns: one row.
CREATE OR REPLACE FUNCTION count_people(p_camera_id text, p_minute timestamptz)
RETURNS TABLE (passers_by bigint, groups bigint) LANGUAGE sql STABLE AS $$
    SELECT (
        SELECT count(DISTINCT (c.run_id, c.track_id)) FROM line_crossings c
        WHERE c.kind = 'passing' AND c.camera_id = p_camera_id
            AND c.crossed_at >= p_minute AND c.crossed_at < p_minute + interval '1 minute'
            AND NOT c.is_staff AND NOT c.withdrawn
            AND NOT EXISTS (SELECT FROM line_crossings o
                WHERE o.camera_id = c.camera_id AND o.run_id = c.run_id
                    AND o.track_id = c.track_id AND NOT o.withdrawn
                    AND (o.kind = 'entrance' OR o.kind = 'passing' AND o.crossed_at < p_minute))
    ), (
        SELECT count(DISTINCT (c.run_id, c.group_id, c.group_entered_at)) FROM line_crossings c
        WHERE c.camera_id = p_camera_id AND c.group_entered_at >= p_minute
            AND c.group_entered_at < p_minute + interval '1 minute'
            AND NOT c.is_staff AND NOT c.withdrawn
    )
$$;
