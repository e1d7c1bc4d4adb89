-- A return and an order cannot have one id, and no update makes a return one that is paid for: each
-- fails a rule before any stream writes it.
-- depends: 0034_negative_unit_prices

ALTER TABLE order_ids ADD COLUMN is_return boolean NOT NULL DEFAULT false;
UPDATE order_ids i SET is_return = true FROM orders_processed p
WHERE p.order_id = i.order_id AND p.is_return;
COMMENT ON COLUMN order_ids.is_return IS 'Whether an order.returned created it.';
