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
