-- Footfall per camera and minute, and the number that cameras and tills make together.
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
CREATE INDEX footfall_minute_branch ON footfall_minute (branch_id, minute DESC);

-- Adds the frames in pg_temp.frame_counts to their minutes.
CREATE FUNCTION upsert_footfall_minute() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO footfall_minute AS f
        (branch_id, camera_id, minute, entries, exits, frames, updated_at)
    SELECT c.branch_id, c.camera_id, date_trunc('minute', c.captured_at), sum(c.entries),
        sum(c.exits), count(*), now()
    FROM pg_temp.frame_counts c GROUP BY 1, 2, 3
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
    updated_at          timestamptz NOT NULL,
    change_id           bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (branch_id, hour)
);
CREATE UNIQUE INDEX store_hourly_change ON store_hourly (change_id);
CREATE INDEX store_hourly_orders ON store_hourly (orders_change_id);
CREATE INDEX store_hourly_footfall ON store_hourly (footfall_change_id);
CREATE INDEX store_hourly_time ON store_hourly (hour DESC);

-- Computes anew every hour that changed on either side since the newest changes that store_hourly
-- names. p_branches: [{"branch_id", "timezone", "cameras"}]. Visitors are the entries of all cameras
-- of the branch; without a camera minute they are unknown (null), not zero. Coverage is the share
-- of the camera minutes of the whole hour in which a frame arrived.
CREATE FUNCTION upsert_store_hourly(p_branches jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO store_hourly AS s (branch_id, hour, local_hour, visitors, orders, conversion_rate,
        revenue, net_revenue, revenue_per_visitor, camera_coverage, is_final, orders_change_id,
        footfall_change_id, updated_at)
    WITH branch AS (
        SELECT * FROM jsonb_to_recordset(p_branches)
            AS b (branch_id text, timezone text, cameras integer)
    ), changed AS (
        SELECT m.branch_id, m.hour FROM order_metrics m
        WHERE m.change_id > (SELECT coalesce(max(orders_change_id), 0) FROM store_hourly)
        UNION
        SELECT f.branch_id, date_trunc('hour', f.minute, 'UTC') FROM footfall_minute f
        WHERE f.change_id > (SELECT coalesce(max(footfall_change_id), 0) FROM store_hourly)
    )
    SELECT c.branch_id, c.hour, c.hour AT TIME ZONE b.timezone, f.visitors,
        coalesce(m.order_count, 0),
        coalesce(m.order_count, 0)::double precision / nullif(f.visitors, 0),
        coalesce(m.total_revenue, 0), coalesce(m.net_revenue, 0),
        round(coalesce(m.total_revenue, 0) / nullif(f.visitors, 0), 2),
        coalesce(f.camera_minutes, 0)::double precision / nullif(b.cameras * 60, 0),
        coalesce(m.is_final, false), coalesce(m.change_id, 0), coalesce(f.change_id, 0), now()
    FROM changed c
    JOIN branch b USING (branch_id)
    LEFT JOIN order_metrics m
        ON m.metric_date = (c.hour AT TIME ZONE 'UTC')::date AND m.hour = c.hour
        AND m.branch_id = c.branch_id
    LEFT JOIN LATERAL (
        SELECT sum(entries)::bigint AS visitors, count(*) AS camera_minutes,
            max(change_id) AS change_id
        FROM footfall_minute x
        WHERE x.branch_id = c.branch_id AND x.minute >= c.hour
            AND x.minute < c.hour + interval '1 hour'
    ) f ON true
    ON CONFLICT (branch_id, hour) DO UPDATE SET
        local_hour = EXCLUDED.local_hour,
        visitors = EXCLUDED.visitors,
        orders = EXCLUDED.orders,
        conversion_rate = EXCLUDED.conversion_rate,
        revenue = EXCLUDED.revenue,
        net_revenue = EXCLUDED.net_revenue,
        revenue_per_visitor = EXCLUDED.revenue_per_visitor,
        camera_coverage = EXCLUDED.camera_coverage,
        is_final = EXCLUDED.is_final,
        orders_change_id = EXCLUDED.orders_change_id,
        footfall_change_id = EXCLUDED.footfall_change_id,
        updated_at = EXCLUDED.updated_at,
        change_id = nextval('changes')
$$;
