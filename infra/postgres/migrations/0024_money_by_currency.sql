-- Money has a currency in its key: order_metrics, order_items_analytics and their views. Beside
-- them payments by method, orders made in the shop, returns, and what a final hour has become.
-- Rows are computed again from the orders that they count. An order whose currency is not known
-- here has XXX, ISO 4217's code for none, until `storelake restate orders` reads it from bronze.
-- depends: 0023_order_status_in_spark

DROP VIEW v_daily_order_summary, v_branch_performance, v_product_popularity;

CREATE FUNCTION currency_places(p_currency text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN p_currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF',
            'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') THEN 0
        WHEN p_currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3
        WHEN p_currency IN ('CLF', 'UYW') THEN 4
        ELSE 2
    END
$$;
COMMENT ON FUNCTION currency_places IS 'Decimals of a currency by ISO 4217.';

-- What an order counts as.

ALTER TABLE order_contributions
    ALTER COLUMN total_price TYPE numeric(18, 4),
    ADD COLUMN currency text,
    ADD COLUMN in_store boolean,
    ADD COLUMN is_return boolean,
    ADD COLUMN payments jsonb;
COMMENT ON COLUMN order_contributions.in_store IS 'Made in the shop; also where the channel is unknown.';
COMMENT ON COLUMN order_contributions.payments IS
    'Array of {method, amount}; null where payment_method has paid the total.';

UPDATE order_contributions c SET in_store = true, is_return = false,
    currency = coalesce((SELECT o.currency FROM orders_processed o WHERE o.order_id = c.order_id), 'XXX')
WHERE c.body_version IS NOT NULL;

CREATE VIEW order_payments AS
SELECT order_id, branch_id, hour, currency, status, is_return, payment_method AS method,
    total_price AS amount
FROM order_contributions
WHERE payments IS NULL AND payment_method IS NOT NULL
UNION ALL
SELECT order_id, branch_id, hour, currency, status, is_return, p.method, sum(p.amount)
FROM order_contributions, jsonb_to_recordset(payments) AS p (method text, amount numeric)
GROUP BY order_id, branch_id, hour, currency, status, is_return, p.method;
COMMENT ON VIEW order_payments IS
    'What was paid for one order, or handed back for one return, by one method. Key: order_id, method.';

-- Hours.

ALTER TABLE order_metrics RENAME TO order_metrics_before;
CREATE TABLE order_metrics (
    metric_date              date NOT NULL,
    hour                     timestamptz NOT NULL,
    branch_id                text NOT NULL,
    currency                 text NOT NULL,
    order_count              bigint NOT NULL CHECK (order_count >= 0),
    total_revenue            numeric(18, 4) NOT NULL,
    net_revenue              numeric(18, 4) NOT NULL,
    average_order_value      numeric(18, 4) GENERATED ALWAYS AS (CASE WHEN order_count > 0
        THEN round(total_revenue / order_count, currency_places(currency)) END) STORED,
    pending_count            bigint NOT NULL CHECK (pending_count >= 0),
    processing_count         bigint NOT NULL CHECK (processing_count >= 0),
    completed_count          bigint NOT NULL CHECK (completed_count >= 0),
    cancelled_count          bigint NOT NULL CHECK (cancelled_count >= 0),
    cash_count               bigint NOT NULL CHECK (cash_count >= 0),
    online_count             bigint NOT NULL CHECK (online_count >= 0),
    in_store_count           bigint NOT NULL DEFAULT 0,
    in_store_cancelled_count bigint NOT NULL DEFAULT 0,
    in_store_revenue         numeric(18, 4) NOT NULL DEFAULT 0,
    return_count             bigint NOT NULL DEFAULT 0 CHECK (return_count >= 0),
    refunds                  numeric(18, 4) NOT NULL DEFAULT 0,
    is_final                 boolean NOT NULL DEFAULT false,
    final_order_count        bigint,
    final_total_revenue      numeric(18, 4),
    final_net_revenue        numeric(18, 4),
    corrected_at             timestamptz,
    revision                 bigint NOT NULL DEFAULT 1,
    updated_at               timestamptz NOT NULL,
    change_id                bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (metric_date, hour, branch_id, currency),
    CHECK (pending_count + processing_count + completed_count + cancelled_count = order_count),
    CHECK (cash_count + online_count <= order_count),
    CHECK (in_store_count BETWEEN 0 AND order_count),
    CHECK (in_store_cancelled_count BETWEEN 0 AND least(in_store_count, cancelled_count))
);
COMMENT ON TABLE order_metrics IS
    'Orders created, and returns made, in one branch, UTC hour and currency.';
COMMENT ON COLUMN order_metrics.online_count IS
    'Paid `online`, as events of versions 1 and 2 have it; payments_hourly has every method.';
COMMENT ON COLUMN order_metrics.in_store_count IS
    'Made in the shop; also those of an unknown channel: a till sent them.';
COMMENT ON COLUMN order_metrics.refunds IS 'Handed back for returns; net_revenue is less by it.';
COMMENT ON COLUMN order_metrics.final_net_revenue IS
    'As it was when the hour became final; the same with the other final_ columns.';
COMMENT ON COLUMN order_metrics.corrected_at IS
    'When a final hour last came to differ from its final_ columns.';

INSERT INTO order_metrics (metric_date, hour, branch_id, currency, order_count, total_revenue,
    net_revenue, pending_count, processing_count, completed_count, cancelled_count, cash_count,
    online_count, in_store_count, in_store_cancelled_count, in_store_revenue, is_final, updated_at)
SELECT (c.hour AT TIME ZONE 'UTC')::date, c.hour, c.branch_id, c.currency, count(*),
    sum(c.total_price), coalesce(sum(c.total_price) FILTER (WHERE c.status <> 'cancelled'), 0),
    count(*) FILTER (WHERE c.status = 'pending'), count(*) FILTER (WHERE c.status = 'processing'),
    count(*) FILTER (WHERE c.status = 'completed'),
    count(*) FILTER (WHERE c.status = 'cancelled'),
    count(*) FILTER (WHERE c.payment_method = 'cash'),
    count(*) FILTER (WHERE c.payment_method = 'online'), count(*),
    count(*) FILTER (WHERE c.status = 'cancelled'), sum(c.total_price),
    coalesce(bool_or(b.is_final), false), now()
FROM order_contributions c LEFT JOIN order_metrics_before b USING (hour, branch_id)
WHERE c.hour IS NOT NULL GROUP BY c.hour, c.branch_id, c.currency;
UPDATE order_metrics SET final_order_count = order_count, final_total_revenue = total_revenue,
    final_net_revenue = net_revenue WHERE is_final;

DROP TABLE order_metrics_before;
CREATE INDEX order_metrics_branch ON order_metrics (branch_id, hour DESC);
CREATE INDEX order_metrics_open ON order_metrics (hour) WHERE NOT is_final;
CREATE INDEX order_metrics_final ON order_metrics (metric_date) WHERE is_final;
CREATE UNIQUE INDEX order_metrics_change ON order_metrics (change_id);

CREATE TABLE payments_hourly (
    branch_id    text NOT NULL,
    hour         timestamptz NOT NULL,
    currency     text NOT NULL,
    method       text NOT NULL,
    order_count  bigint NOT NULL,
    total_amount numeric(18, 4) NOT NULL,
    net_amount   numeric(18, 4) NOT NULL,
    updated_at   timestamptz NOT NULL,
    change_id    bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (hour, branch_id, currency, method)
);
COMMENT ON TABLE payments_hourly IS
    'What was paid by one method, in one branch, UTC hour (of the order or return) and currency.';
COMMENT ON COLUMN payments_hourly.order_count IS 'Paid in whole or in part by the method.';
COMMENT ON COLUMN payments_hourly.total_amount IS 'For orders, cancelled ones included.';
COMMENT ON COLUMN payments_hourly.net_amount IS
    'Without cancelled orders, less what was handed back for returns.';
INSERT INTO payments_hourly
SELECT branch_id, hour, currency, method, count(*), sum(amount),
    coalesce(sum(amount) FILTER (WHERE status <> 'cancelled'), 0), now()
FROM order_payments WHERE hour IS NOT NULL GROUP BY branch_id, hour, currency, method;
CREATE UNIQUE INDEX payments_hourly_change ON payments_hourly (change_id);

-- Products.

ALTER TABLE product_orders ADD COLUMN currency text, ADD COLUMN is_return boolean;
UPDATE product_orders p SET is_return = false,
    currency = coalesce((SELECT o.currency FROM orders_processed o WHERE o.order_id = p.order_id), 'XXX')
WHERE p.body_version IS NOT NULL;

ALTER TABLE order_items
    DROP COLUMN line_total,
    DROP CONSTRAINT order_items_quantity_check,
    DROP CONSTRAINT order_items_unit_price_check,
    ALTER COLUMN category DROP NOT NULL,
    ALTER COLUMN quantity TYPE numeric(12, 4),
    ALTER COLUMN unit_price TYPE numeric(18, 4),
    ADD COLUMN discount numeric(18, 4) NOT NULL DEFAULT 0,
    ADD COLUMN currency text NOT NULL DEFAULT 'XXX',
    ADD CHECK (unit_price >= 0);
UPDATE order_items i SET currency = p.currency FROM product_orders p
WHERE p.order_id = i.order_id AND p.currency IS NOT NULL;
ALTER TABLE order_items ADD COLUMN line_total numeric(18, 4) NOT NULL GENERATED ALWAYS AS
    (round(quantity * unit_price, currency_places(currency)) - discount) STORED;
COMMENT ON COLUMN order_items.line_total IS
    'Rounded to the smallest unit of the currency, less the discount of the line.';

ALTER TABLE order_items_analytics RENAME TO order_items_analytics_before;
CREATE TABLE order_items_analytics (
    branch_id          text NOT NULL,
    day                date NOT NULL,
    product_id         text NOT NULL,
    currency           text NOT NULL,
    name               text NOT NULL,
    category           text,
    order_count        bigint NOT NULL,
    quantity           numeric(18, 4) NOT NULL,
    revenue            numeric(18, 4) NOT NULL,
    cancelled_orders   bigint NOT NULL CHECK (cancelled_orders BETWEEN 0 AND order_count),
    cancelled_quantity numeric(18, 4) NOT NULL,
    cancelled_revenue  numeric(18, 4) NOT NULL,
    returned_quantity  numeric(18, 4) NOT NULL DEFAULT 0,
    returned_revenue   numeric(18, 4) NOT NULL DEFAULT 0,
    net_quantity       numeric(18, 4) NOT NULL
        GENERATED ALWAYS AS (quantity - cancelled_quantity - returned_quantity) STORED,
    net_revenue        numeric(18, 4) NOT NULL
        GENERATED ALWAYS AS (revenue - cancelled_revenue - returned_revenue) STORED,
    name_version       text COLLATE "C" NOT NULL,
    revision           bigint NOT NULL DEFAULT 0,
    updated_at         timestamptz NOT NULL,
    change_id          bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (branch_id, day, product_id, currency)
);
COMMENT ON TABLE order_items_analytics IS
    'One product in the orders and returns of one branch, UTC day and currency; all zero once none holds it.';
COMMENT ON COLUMN order_items_analytics.returned_quantity IS
    'Came back on this day, whenever it was sold.';

INSERT INTO order_items_analytics (branch_id, day, product_id, currency, name, category,
    order_count, quantity, revenue, cancelled_orders, cancelled_quantity, cancelled_revenue,
    name_version, revision, updated_at)
SELECT branch_id, day, product_id, s.currency, b.name, b.category, count(*), sum(s.quantity),
    sum(s.revenue), count(*) FILTER (WHERE s.cancelled),
    coalesce(sum(s.quantity) FILTER (WHERE s.cancelled), 0),
    coalesce(sum(s.revenue) FILTER (WHERE s.cancelled), 0), b.name_version, b.revision, now()
FROM (
    SELECT p.order_id, p.branch_id, p.day, p.currency, i.product_id, p.status = 'cancelled'
        AS cancelled, sum(i.quantity) AS quantity, sum(i.line_total) AS revenue
    FROM product_orders p JOIN order_items i USING (order_id) GROUP BY p.order_id, i.product_id
) s JOIN order_items_analytics_before b USING (branch_id, day, product_id)
GROUP BY branch_id, day, product_id, s.currency, b.name, b.category, b.name_version, b.revision;

DROP TABLE order_items_analytics_before;
CREATE INDEX order_items_analytics_product ON order_items_analytics (product_id, day DESC);
CREATE INDEX order_items_analytics_day ON order_items_analytics (day);
CREATE UNIQUE INDEX order_items_analytics_change ON order_items_analytics (change_id);
