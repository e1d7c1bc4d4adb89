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
