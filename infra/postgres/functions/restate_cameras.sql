-- Recomputes crossings, visits, footfall and queue lengths in [p_from, p_to). Rows of the given
-- runs that are not staged are withdrawn; runs and minutes that bronze does not hold are left
-- unchanged.
-- Arguments: p_from (inclusive) and p_to (exclusive), by the time of the frames.
-- Reads: pg_temp.restated_runs (camera_id, run_id) and the whole of these runs in
-- pg_temp.frame_counts, seen_crossings, seen_visits, queue_lengths and seen_staff; deletes what
-- lies outside the range.
-- Writes: line_crossings, zone_visits, footfall_minute, queue_minute; unchanged rows keep their
-- change_id.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION restate_cameras(p_from timestamptz, p_to timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM pg_temp.frame_counts WHERE captured_at < p_from OR captured_at >= p_to;
    DELETE FROM pg_temp.seen_crossings WHERE crossed_at < p_from OR crossed_at >= p_to;
    DELETE FROM pg_temp.seen_visits WHERE entered_at < p_from OR entered_at >= p_to;
    DELETE FROM pg_temp.queue_lengths WHERE captured_at < p_from OR captured_at >= p_to;

    UPDATE pg_temp.seen_crossings c SET is_staff = true FROM pg_temp.seen_staff s
    WHERE c.camera_id = s.camera_id AND c.run_id = s.run_id AND c.track_id = s.track_id;
    UPDATE pg_temp.seen_visits v SET is_staff = true FROM pg_temp.seen_staff s
    WHERE v.camera_id = s.camera_id AND v.run_id = s.run_id AND v.track_id = s.track_id;
    -- The stream has newer frames of a visit that is still open; a visit that it closed is closed.
    UPDATE pg_temp.seen_visits n SET is_open = v.is_open, exited_at = v.exited_at
    FROM zone_visits v
    WHERE n.is_open AND NOT v.withdrawn AND v.exited_at >= n.exited_at
        AND v.layout_version = n.layout_version AND v.camera_id = n.camera_id
        AND v.run_id = n.run_id AND v.track_id = n.track_id
        AND v.zone_id = n.zone_id AND v.entered_at = n.entered_at;

    UPDATE line_crossings c SET withdrawn = true, change_id = nextval('changes')
    FROM pg_temp.restated_runs r
    WHERE c.camera_id = r.camera_id AND c.run_id = r.run_id AND NOT c.withdrawn
        AND c.crossed_at >= p_from AND c.crossed_at < p_to
        AND NOT EXISTS (SELECT FROM pg_temp.seen_crossings n
            WHERE n.camera_id = c.camera_id AND n.run_id = c.run_id AND n.track_id = c.track_id
                AND n.line_id = c.line_id AND n.crossed_at = c.crossed_at);
    UPDATE zone_visits v SET withdrawn = true, is_open = false, updated_at = now(),
        change_id = nextval('changes')
    FROM pg_temp.restated_runs r
    WHERE v.camera_id = r.camera_id AND v.run_id = r.run_id AND NOT v.withdrawn
        AND v.entered_at >= p_from AND v.entered_at < p_to
        AND NOT EXISTS (SELECT FROM pg_temp.seen_visits n
            WHERE n.camera_id = v.camera_id AND n.run_id = v.run_id AND n.track_id = v.track_id
                AND n.zone_id = v.zone_id AND n.entered_at = v.entered_at);
    PERFORM upsert_crossings_and_visits();

    WITH seen AS (
        SELECT branch_id, camera_id, date_trunc('minute', captured_at) AS minute,
            sum(frames) AS frames, max(people) AS people
        FROM pg_temp.frame_counts GROUP BY 1, 2, 3
    ), crossed AS (
        SELECT camera_id, date_trunc('minute', crossed_at) AS minute,
            count(*) FILTER (WHERE direction = 'entry') AS entries,
            count(*) FILTER (WHERE direction = 'exit') AS exits
        FROM pg_temp.seen_crossings WHERE kind = 'entrance' AND NOT is_staff GROUP BY 1, 2
    )
    INSERT INTO footfall_minute AS f (branch_id, camera_id, minute, entries, exits, frames,
        people_peak, passers_by, groups, updated_at)
    SELECT s.branch_id, s.camera_id, s.minute, coalesce(c.entries, 0), coalesce(c.exits, 0),
        s.frames, s.people, n.passers_by, n.groups, now()
    FROM seen s CROSS JOIN LATERAL count_people(s.camera_id, s.minute) n
    LEFT JOIN crossed c USING (camera_id, minute)
    ON CONFLICT (branch_id, camera_id, minute) DO UPDATE SET
        entries = EXCLUDED.entries, exits = EXCLUDED.exits, frames = EXCLUDED.frames,
        late_frames = 0, people_peak = EXCLUDED.people_peak, passers_by = EXCLUDED.passers_by,
        groups = EXCLUDED.groups, revision = f.revision + 1,
        updated_at = EXCLUDED.updated_at, change_id = nextval('changes')
    WHERE (f.entries, f.exits, f.frames, f.late_frames, f.people_peak, f.passers_by, f.groups)
        IS DISTINCT FROM (EXCLUDED.entries, EXCLUDED.exits, EXCLUDED.frames, 0::bigint,
            EXCLUDED.people_peak, EXCLUDED.passers_by, EXCLUDED.groups);
    PERFORM recount_people();  -- minutes before the range, in which these tracks passed

    UPDATE queue_minute q SET frames = 0, people = 0, length_max = 0, updated_at = now(),
        change_id = nextval('changes')
    FROM (
        SELECT DISTINCT branch_id, camera_id, date_trunc('minute', captured_at) AS minute
        FROM pg_temp.frame_counts
    ) s
    WHERE q.branch_id = s.branch_id AND q.camera_id = s.camera_id AND q.minute = s.minute
        AND q.frames > 0
        AND NOT EXISTS (SELECT FROM pg_temp.queue_lengths l
            WHERE l.camera_id = q.camera_id AND l.zone_id = q.zone_id
                AND date_trunc('minute', l.captured_at) = q.minute);
    INSERT INTO queue_minute AS q (branch_id, camera_id, zone_id, minute, frames, people,
        length_max, updated_at)
    SELECT l.branch_id, l.camera_id, l.zone_id, date_trunc('minute', l.captured_at), count(*),
        sum(l.people), max(l.people), now()
    FROM pg_temp.queue_lengths l GROUP BY 1, 2, 3, 4
    ON CONFLICT (branch_id, camera_id, zone_id, minute) DO UPDATE SET
        frames = EXCLUDED.frames, people = EXCLUDED.people, length_max = EXCLUDED.length_max,
        updated_at = EXCLUDED.updated_at, change_id = nextval('changes')
    WHERE (q.frames, q.people, q.length_max) IS DISTINCT FROM
        (EXCLUDED.frames, EXCLUDED.people, EXCLUDED.length_max);
END $$;
