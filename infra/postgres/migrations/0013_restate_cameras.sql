-- `storelake restate cameras`: crossings, visits, footfall and queues computed anew from bronze.
-- depends: 0012_store_hourly

CREATE TABLE restated_camera_hours (
    hour        timestamptz NOT NULL,
    restated_at timestamptz NOT NULL DEFAULT now(),
    frames      bigint NOT NULL,
    crossings   bigint NOT NULL,
    visits      bigint NOT NULL,
    PRIMARY KEY (hour, restated_at)
);
COMMENT ON TABLE restated_camera_hours IS
    'One UTC hour of all cameras that was computed anew from bronze, and what is in it since.';
