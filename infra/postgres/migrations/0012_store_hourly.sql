-- The conversion rate per branch and hour: visitors of the entrances alone, queue wait, occupancy.
-- depends: 0011_tracks

ALTER TABLE store_hourly
    ADD COLUMN queue_waits bigint NOT NULL DEFAULT 0,
    ADD COLUMN queue_wait_p50 double precision,
    ADD COLUMN queue_wait_p95 double precision,
    ADD COLUMN occupancy_peak bigint,
    ADD COLUMN visits_change_id bigint NOT NULL DEFAULT 0;
CREATE INDEX store_hourly_visits ON store_hourly (visits_change_id);
COMMENT ON COLUMN store_hourly.occupancy_peak IS
    'The most people inside at the end of a minute: entries less exits since midnight where the branch is, never below zero.';
