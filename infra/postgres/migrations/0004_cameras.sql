-- Footfall per camera and minute, and the number that cameras and tills make together (J1).
-- depends: 0003_order_metrics

CREATE TABLE footfall_minute (
    branch_id  text NOT NULL,
    camera_id  text NOT NULL,
    minute     timestamptz NOT NULL,
    entries    bigint NOT NULL CHECK (entries >= 0),
    exits      bigint NOT NULL CHECK (exits >= 0),
    frames     bigint NOT NULL CHECK (frames > 0),
    revision   bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL,
    change_id  bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (branch_id, camera_id, minute)
);
CREATE UNIQUE INDEX footfall_minute_change ON footfall_minute (change_id);
CREATE INDEX footfall_minute_time ON footfall_minute (minute DESC);

-- Adds the increments in pg_temp.footfall_increments to footfall_minute.
CREATE FUNCTION upsert_footfall_minute() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO footfall_minute AS f
        (branch_id, camera_id, minute, entries, exits, frames, updated_at)
    SELECT i.branch_id, i.camera_id, i.minute, sum(i.entries), sum(i.exits), sum(i.frames), now()
    FROM pg_temp.footfall_increments i GROUP BY i.branch_id, i.camera_id, i.minute
    ON CONFLICT (branch_id, camera_id, minute) DO UPDATE SET
        entries = f.entries + EXCLUDED.entries,
        exits = f.exits + EXCLUDED.exits,
        frames = f.frames + EXCLUDED.frames,
        revision = f.revision + 1,
        updated_at = EXCLUDED.updated_at,
        change_id = nextval('changes');
END $$;

CREATE TABLE store_hourly (
    branch_id           text NOT NULL,
    hour                timestamptz NOT NULL,
    local_hour          timestamp NOT NULL,
    visitors            bigint,
    orders              bigint NOT NULL,
    conversion_rate     double precision,
    revenue             numeric(18, 2) NOT NULL,
    net_revenue         numeric(18, 2) NOT NULL,
    revenue_per_visitor numeric(18, 2),
    camera_coverage     double precision,
    is_final            boolean NOT NULL,
    orders_change_id    bigint NOT NULL,
    footfall_change_id  bigint NOT NULL,
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (branch_id, hour)
);
CREATE INDEX store_hourly_time ON store_hourly (hour DESC);
