-- Orders of version 3: several payments, discounts, tax, quantities by weight, returns, currencies of
-- 0 to 4 decimals. No customer, a total that is not above 0, and further methods of payment are valid.
-- depends: 0023_order_status_in_spark

DROP VIEW v_recent_orders;

ALTER TABLE orders_processed
    DROP CONSTRAINT orders_processed_payment_method_check,
    DROP CONSTRAINT orders_processed_total_price_check,
    DROP CONSTRAINT orders_processed_subtotal_check,
    ALTER COLUMN total_price TYPE numeric(18, 4),
    ALTER COLUMN subtotal TYPE numeric(18, 4),
    ADD CONSTRAINT orders_processed_payment_method_check CHECK (payment_method IN ('cash', 'online',
        'card', 'wallet', 'voucher', 'gift_card', 'bank_transfer', 'invoice', 'other', 'mixed')),
    ADD COLUMN channel text
        CHECK (channel IN ('in_store', 'web', 'app', 'phone', 'marketplace')),
    ADD COLUMN is_return boolean,
    ADD COLUMN fulfilment_branch_id text,
    ADD COLUMN original_order_id text,
    ADD COLUMN payments jsonb,
    ADD COLUMN discount_total numeric(18, 4),
    ADD COLUMN tax_total numeric(18, 4),
    ADD COLUMN shipping numeric(18, 4),
    ADD COLUMN tip numeric(18, 4),
    ADD COLUMN rounding numeric(18, 4),
    ADD COLUMN schema_version integer,
    ADD CONSTRAINT orders_processed_total_price_check
        CHECK (coalesce(schema_version, 1) >= 3 OR total_price > 0),
    ADD CONSTRAINT orders_processed_subtotal_check
        CHECK (coalesce(schema_version, 1) >= 3 OR subtotal > 0),
    ADD CONSTRAINT orders_processed_return_check CHECK (NOT is_return OR total_price <= 0);
COMMENT ON COLUMN orders_processed.is_return IS
    'The row is a return, with negative lines: original_order_id names its order, where it is known.';
CREATE INDEX orders_processed_original ON orders_processed (original_order_id)
    WHERE original_order_id IS NOT NULL;

CREATE VIEW v_recent_orders AS
SELECT order_id, customer_id, branch_id, region, status, payment_method, currency, total_price,
    subtotal, item_count, created_at, last_event_at, now() - created_at AS age,
    now() - last_event_at AS idle, channel, is_return, original_order_id, discount_total, tax_total
FROM orders_processed
WHERE created_at IS NOT NULL
ORDER BY created_at DESC;
COMMENT ON VIEW v_recent_orders IS
    'One order or return whose body has arrived, the newest ones first: read it with a LIMIT. Key: order_id.';
