-- Passers-by and buying groups: capture rate and conversion by groups (docs/adr/0040).
-- depends: 0023_order_status_in_spark

ALTER TABLE line_crossings
    ADD COLUMN group_id text,
    ADD COLUMN group_entered_at timestamptz;
CREATE INDEX line_crossings_group ON line_crossings (camera_id, group_entered_at)
    WHERE group_entered_at IS NOT NULL;
CREATE INDEX line_crossings_passing ON line_crossings (camera_id, crossed_at)
    WHERE kind = 'passing';
COMMENT ON COLUMN line_crossings.group_id IS
    'track_id of the first of the people who entered together; null where nobody entered.';
COMMENT ON COLUMN line_crossings.group_entered_at IS
    'When the first of them entered. A group is (camera_id, run_id, group_id, group_entered_at).';

ALTER TABLE footfall_minute
    ADD COLUMN passers_by bigint,
    ADD COLUMN groups bigint;
COMMENT ON COLUMN footfall_minute.passers_by IS
    'People who crossed a passing line and no entrance, in the minute of their first crossing; without staff. Null in older minutes.';
COMMENT ON COLUMN footfall_minute.groups IS
    'Groups of visitors whose first person entered in the minute. Null in older minutes.';

ALTER TABLE store_hourly
    ADD COLUMN passers_by bigint,
    ADD COLUMN groups bigint,
    ADD COLUMN capture_rate double precision,
    ADD COLUMN conversion_by_groups double precision;
