-- depends: 0021_cheaper_orders
-- upsert_order_metrics() no longer closes hours: close_order_hours() does, once the rows of a
-- micro-batch are committed by all its tasks.
DROP FUNCTION IF EXISTS upsert_order_metrics(timestamptz, interval);
