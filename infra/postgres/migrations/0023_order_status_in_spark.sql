-- The state of the order status tracker moves into Spark's checkpoint (docs/adr/0034).
-- depends: 0008_order_status 0020_applied_functions

DROP FUNCTION IF EXISTS upsert_order_status(timestamptz, interval, interval, interval, interval);
DELETE FROM applied_functions WHERE name = 'upsert_order_status';
COMMENT ON TABLE order_status_state IS
    'State of open orders as earlier releases kept it; the first batch of the order_status_tracker takes it over.';
