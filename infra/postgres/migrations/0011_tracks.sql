-- What cameras see over time: line crossings, zone visits, dwell, queues; staff left out.
-- depends: 0007_serving_views

ALTER TABLE footfall_minute
    DROP CONSTRAINT footfall_minute_frames_check,
    ADD CHECK (frames >= 0),
    ADD COLUMN late_frames bigint NOT NULL DEFAULT 0,
    ADD COLUMN people_peak bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN footfall_minute.late_frames IS
    'Frames whose place in their run was passed when they came: nobody in them was followed.';
COMMENT ON COLUMN footfall_minute.people_peak IS 'The most people in one frame.';

CREATE TABLE line_crossings (
    branch_id      text NOT NULL,
    camera_id      text NOT NULL,
    run_id         text NOT NULL,
    track_id       text NOT NULL,
    line_id        text NOT NULL,
    kind           text NOT NULL,
    direction      text NOT NULL CHECK (direction IN ('entry', 'exit')),
    crossed_at     timestamptz NOT NULL,
    is_staff       boolean NOT NULL,
    layout_version integer NOT NULL,
    withdrawn      boolean NOT NULL DEFAULT false,
    change_id      bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (camera_id, run_id, track_id, line_id, crossed_at)
);
CREATE UNIQUE INDEX line_crossings_change ON line_crossings (change_id);
CREATE INDEX line_crossings_time ON line_crossings (crossed_at);
COMMENT ON TABLE line_crossings IS
    'One crossing of one line by one track. Withdrawn: a restatement took it back.';

CREATE TABLE zone_visits (
    branch_id      text NOT NULL,
    camera_id      text NOT NULL,
    run_id         text NOT NULL,
    track_id       text NOT NULL,
    zone_id        text NOT NULL,
    kind           text NOT NULL,
    entered_at     timestamptz NOT NULL,
    exited_at      timestamptz NOT NULL CHECK (exited_at >= entered_at),
    dwell_seconds  numeric(12, 3) GENERATED ALWAYS AS
        (extract(epoch FROM exited_at - entered_at)) STORED,
    is_open        boolean NOT NULL,
    is_staff       boolean NOT NULL,
    layout_version integer NOT NULL,
    withdrawn      boolean NOT NULL DEFAULT false,
    updated_at     timestamptz NOT NULL,
    change_id      bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (camera_id, run_id, track_id, zone_id, entered_at)
);
CREATE UNIQUE INDEX zone_visits_change ON zone_visits (change_id);
CREATE INDEX zone_visits_entered ON zone_visits (entered_at);
CREATE INDEX zone_visits_exited ON zone_visits (branch_id, exited_at) WHERE kind = 'queue';
CREATE INDEX zone_visits_over ON zone_visits (change_id) WHERE NOT is_open;
CREATE INDEX zone_visits_open ON zone_visits (updated_at) WHERE is_open;
COMMENT ON TABLE zone_visits IS
    'One stay of one track in one zone; exited_at is the last frame inside. Withdrawn: a restatement took it back.';

CREATE TABLE zone_dwell_hourly (
    branch_id        text NOT NULL,
    camera_id        text NOT NULL,
    zone_id          text NOT NULL,
    hour             timestamptz NOT NULL,
    visits           bigint NOT NULL,
    dwell_mean       double precision,
    dwell_p50        double precision,
    dwell_p95        double precision,
    visits_change_id bigint NOT NULL,
    updated_at       timestamptz NOT NULL,
    change_id        bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (branch_id, camera_id, zone_id, hour)
);
CREATE UNIQUE INDEX zone_dwell_hourly_change ON zone_dwell_hourly (change_id);
CREATE INDEX zone_dwell_hourly_visits ON zone_dwell_hourly (visits_change_id);
COMMENT ON TABLE zone_dwell_hourly IS
    'Finished visits of one zone that began in one UTC hour, staff left out; dwell in seconds.';

CREATE TABLE queue_minute (
    branch_id        text NOT NULL,
    camera_id        text NOT NULL,
    zone_id          text NOT NULL,
    minute           timestamptz NOT NULL,
    frames           bigint NOT NULL DEFAULT 0,
    people           bigint NOT NULL DEFAULT 0,
    length_mean      double precision GENERATED ALWAYS AS
        (people::double precision / nullif(frames, 0)) STORED,
    length_max       bigint NOT NULL DEFAULT 0,
    waits            bigint NOT NULL DEFAULT 0,
    wait_p50         double precision,
    wait_p95         double precision,
    visits_change_id bigint NOT NULL DEFAULT 0,
    updated_at       timestamptz NOT NULL,
    change_id        bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (branch_id, camera_id, zone_id, minute)
);
CREATE UNIQUE INDEX queue_minute_change ON queue_minute (change_id);
CREATE INDEX queue_minute_visits ON queue_minute (visits_change_id);
COMMENT ON TABLE queue_minute IS
    'One queue zone in one UTC minute: people in it over its frames, and the waits that ended then, in seconds.';
COMMENT ON COLUMN queue_minute.people IS 'Summed over the frames.';

-- Adds pg_temp.frame_counts to their minutes.
CREATE OR REPLACE FUNCTION upsert_footfall_minute() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO footfall_minute AS f (branch_id, camera_id, minute, entries, exits, frames,
        late_frames, people_peak, updated_at)
    SELECT c.branch_id, c.camera_id, date_trunc('minute', c.captured_at), sum(c.entries),
        sum(c.exits), sum(c.frames), sum(c.late_frames), max(c.people), now()
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

-- Writes pg_temp.seen_crossings and pg_temp.seen_visits by their keys.
CREATE FUNCTION upsert_crossings_and_visits() RETURNS void LANGUAGE plpgsql AS $$
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

    INSERT INTO zone_visits AS v (branch_id, camera_id, run_id, track_id, zone_id, kind,
        entered_at, exited_at, is_open, is_staff, layout_version, updated_at)
    SELECT s.branch_id, s.camera_id, s.run_id, s.track_id, s.zone_id, s.kind, s.entered_at,
        s.exited_at, s.is_open, s.is_staff, s.layout_version, now()
    FROM pg_temp.seen_visits s
    ON CONFLICT (camera_id, run_id, track_id, zone_id, entered_at) DO UPDATE SET
        kind = EXCLUDED.kind, exited_at = EXCLUDED.exited_at, is_open = EXCLUDED.is_open,
        is_staff = EXCLUDED.is_staff, layout_version = EXCLUDED.layout_version,
        withdrawn = false, updated_at = EXCLUDED.updated_at,
        -- That a visit goes on is no news for those who copy: they hear of its beginning and its end.
        change_id = CASE WHEN v.is_open AND EXCLUDED.is_open AND NOT v.withdrawn
            AND v.is_staff = EXCLUDED.is_staff THEN v.change_id ELSE nextval('changes') END
    WHERE (v.kind, v.exited_at, v.is_open, v.is_staff, v.layout_version, v.withdrawn)
        IS DISTINCT FROM (EXCLUDED.kind, EXCLUDED.exited_at, EXCLUDED.is_open,
            EXCLUDED.is_staff, EXCLUDED.layout_version, false);
END $$;

-- The tracks in pg_temp.seen_staff are staff, also in what they did before: their crossings leave
-- the footfall.
CREATE FUNCTION exclude_staff() RETURNS void LANGUAGE plpgsql AS $$
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

-- Adds pg_temp.queue_lengths to their minutes.
CREATE FUNCTION upsert_queue_lengths() RETURNS void LANGUAGE plpgsql AS $$
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

-- A visit of which nothing was heard for p_after is over: its run has ended, or its camera. Should
-- the run go on after all, the stream opens it again.
CREATE FUNCTION close_silent_visits(p_after interval) RETURNS void LANGUAGE sql AS $$
    UPDATE zone_visits SET is_open = false, updated_at = now(), change_id = nextval('changes')
    WHERE is_open AND updated_at < now() - p_after
$$;

-- Computes anew the hours of dwell whose finished visits changed since the newest change that
-- zone_dwell_hourly itself names.
CREATE FUNCTION upsert_zone_dwell_hourly() RETURNS void LANGUAGE sql AS $$
    INSERT INTO zone_dwell_hourly AS d (branch_id, camera_id, zone_id, hour, visits, dwell_mean,
        dwell_p50, dwell_p95, visits_change_id, updated_at)
    WITH changed AS (
        SELECT DISTINCT v.branch_id, v.camera_id, v.zone_id,
            date_trunc('hour', v.entered_at, 'UTC') AS hour
        FROM zone_visits v
        WHERE NOT v.is_open
            AND v.change_id > (SELECT coalesce(max(visits_change_id), 0) FROM zone_dwell_hourly)
    )
    SELECT c.branch_id, c.camera_id, c.zone_id, c.hour, count(*) FILTER (WHERE counts),
        avg(v.dwell_seconds) FILTER (WHERE counts),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY v.dwell_seconds) FILTER (WHERE counts),
        percentile_cont(0.95) WITHIN GROUP (ORDER BY v.dwell_seconds) FILTER (WHERE counts),
        max(v.change_id), now()
    FROM changed c JOIN (
        SELECT *, NOT is_staff AND NOT withdrawn AS counts FROM zone_visits WHERE NOT is_open
    ) v ON v.branch_id = c.branch_id AND v.camera_id = c.camera_id AND v.zone_id = c.zone_id
        AND v.entered_at >= c.hour AND v.entered_at < c.hour + interval '1 hour'
    GROUP BY c.branch_id, c.camera_id, c.zone_id, c.hour
    ON CONFLICT (branch_id, camera_id, zone_id, hour) DO UPDATE SET
        visits = EXCLUDED.visits, dwell_mean = EXCLUDED.dwell_mean,
        dwell_p50 = EXCLUDED.dwell_p50, dwell_p95 = EXCLUDED.dwell_p95,
        visits_change_id = EXCLUDED.visits_change_id, updated_at = EXCLUDED.updated_at,
        change_id = nextval('changes')
$$;

-- The same for the waits that ended in one minute, in zones of the kind queue.
CREATE FUNCTION upsert_queue_waits() RETURNS void LANGUAGE sql AS $$
    INSERT INTO queue_minute AS q (branch_id, camera_id, zone_id, minute, waits, wait_p50,
        wait_p95, visits_change_id, updated_at)
    WITH changed AS (
        SELECT DISTINCT v.branch_id, v.camera_id, v.zone_id,
            date_trunc('minute', v.exited_at) AS minute
        FROM zone_visits v
        WHERE NOT v.is_open AND v.kind = 'queue'
            AND v.change_id > (SELECT coalesce(max(visits_change_id), 0) FROM queue_minute)
    )
    SELECT c.branch_id, c.camera_id, c.zone_id, c.minute, count(*) FILTER (WHERE counts),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY v.dwell_seconds) FILTER (WHERE counts),
        percentile_cont(0.95) WITHIN GROUP (ORDER BY v.dwell_seconds) FILTER (WHERE counts),
        max(v.change_id), now()
    FROM changed c JOIN (
        SELECT *, NOT is_staff AND NOT withdrawn AS counts FROM zone_visits
        WHERE NOT is_open AND kind = 'queue'
    ) v ON v.branch_id = c.branch_id AND v.camera_id = c.camera_id AND v.zone_id = c.zone_id
        AND v.exited_at >= c.minute AND v.exited_at < c.minute + interval '1 minute'
    GROUP BY c.branch_id, c.camera_id, c.zone_id, c.minute
    ON CONFLICT (branch_id, camera_id, zone_id, minute) DO UPDATE SET
        waits = EXCLUDED.waits, wait_p50 = EXCLUDED.wait_p50, wait_p95 = EXCLUDED.wait_p95,
        visits_change_id = EXCLUDED.visits_change_id, updated_at = EXCLUDED.updated_at,
        change_id = nextval('changes')
$$;
