-- `storelake restate`: hours of orders computed anew from bronze.
-- depends: 0003_order_metrics

CREATE INDEX order_contributions_hour ON order_contributions (hour);

CREATE TABLE restated_hours (
    hour        timestamptz NOT NULL,
    restated_at timestamptz NOT NULL DEFAULT now(),
    orders      bigint NOT NULL,
    events      bigint NOT NULL,
    late_events bigint NOT NULL,
    PRIMARY KEY (hour, restated_at)
);
COMMENT ON TABLE restated_hours IS
    'One UTC hour that was computed anew from bronze; late_events of its events had been set aside before.';
