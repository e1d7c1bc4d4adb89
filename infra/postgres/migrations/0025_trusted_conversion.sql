-- The conversion rate counts orders made in the shop, and is withheld where it cannot be trusted.
-- depends: 0024_money_by_currency

ALTER TABLE store_hourly
    ALTER COLUMN revenue TYPE numeric(18, 4),
    ALTER COLUMN net_revenue TYPE numeric(18, 4),
    ALTER COLUMN revenue_per_visitor TYPE numeric(18, 4),
    ADD COLUMN currency text NOT NULL DEFAULT 'XXX',
    ADD COLUMN orders_in_store bigint NOT NULL DEFAULT 0,
    ADD COLUMN orders_in_store_net bigint NOT NULL DEFAULT 0,
    ADD COLUMN orders_other_currency bigint NOT NULL DEFAULT 0,
    ADD COLUMN revenue_in_store numeric(18, 4) NOT NULL DEFAULT 0,
    ADD COLUMN conversion_rate_net double precision,
    ADD COLUMN conversion_withheld text,
    ADD COLUMN corrected_at timestamptz;

-- Every hour is computed again: the changes that it names are those before all others.
UPDATE store_hourly SET conversion_rate = NULL, revenue_per_visitor = NULL,
    conversion_withheld = 'not computed yet', orders_change_id = -1, footfall_change_id = -1;
ALTER TABLE store_hourly
    ADD CHECK (conversion_withheld IS NOT NULL OR conversion_rate BETWEEN 0 AND 1);

COMMENT ON COLUMN store_hourly.currency IS
    'Of the branch, by the store file: revenue is in it, and of orders in it alone.';
COMMENT ON COLUMN store_hourly.orders IS 'Of every channel and currency.';
COMMENT ON COLUMN store_hourly.orders_in_store_net IS 'Without cancelled ones.';
COMMENT ON COLUMN store_hourly.orders_other_currency IS 'Orders whose money is not in revenue.';
COMMENT ON COLUMN store_hourly.conversion_rate IS
    'orders_in_store / visitors; null where it is withheld.';
COMMENT ON COLUMN store_hourly.conversion_withheld IS
    'Why conversion and revenue per visitor are withheld; null where they are not.';
COMMENT ON COLUMN store_hourly.corrected_at IS
    'When the orders of a final hour last changed; order_metrics has the figures before.';

DROP FUNCTION IF EXISTS upsert_store_hourly(jsonb);
