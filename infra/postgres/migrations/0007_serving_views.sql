-- What people ask first of the serving database: four views, and the indexes that serve them.
-- Days are UTC; "the last 7 days" are today and the six before it.
-- depends: 0006_order_items

-- The value of an order's lines; null without lines.
CREATE FUNCTION items_total(p_items jsonb) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT sum((i ->> 'quantity')::numeric * (i ->> 'unit_price')::numeric)
    FROM jsonb_array_elements(p_items) i
$$;

-- Generated, so that it cannot disagree with the items and old orders have it, too.
ALTER TABLE orders_processed ADD COLUMN subtotal numeric(18, 2)
    GENERATED ALWAYS AS (items_total(items)) STORED CHECK (subtotal > 0);

-- Open orders are few among all: a small index, and completed orders do not weigh on it.
CREATE INDEX orders_processed_open ON orders_processed (created_at DESC)
    WHERE status IN ('pending', 'processing');

COMMENT ON TABLE order_metrics IS 'Orders created in one branch and UTC hour.';
COMMENT ON TABLE footfall_minute IS
    'One camera in one UTC minute; a row exists when at least one frame was seen.';
COMMENT ON TABLE store_hourly IS 'One branch in one UTC hour: where cameras and tills meet.';

CREATE VIEW v_daily_order_summary AS
SELECT metric_date AS day, branch_id,
    sum(order_count)::bigint AS orders,
    sum(total_revenue) AS total_revenue,
    sum(net_revenue) AS net_revenue,
    round(sum(total_revenue) / nullif(sum(order_count), 0), 2) AS average_order_value,
    sum(pending_count)::bigint AS pending,
    sum(processing_count)::bigint AS processing,
    sum(completed_count)::bigint AS completed,
    sum(cancelled_count)::bigint AS cancelled,
    round(sum(cancelled_count) / nullif(sum(order_count), 0), 4) AS cancellation_rate,
    sum(cash_count)::bigint AS cash,
    sum(online_count)::bigint AS online,
    bool_and(is_final) AS is_final,
    max(updated_at) AS updated_at
FROM order_metrics
GROUP BY metric_date, branch_id;
COMMENT ON VIEW v_daily_order_summary IS
    'Orders created in one branch on one UTC day. Key: day, branch_id.';

CREATE VIEW v_branch_performance AS
WITH sold AS (
    SELECT branch_id,
        sum(order_count) FILTER (WHERE recent) AS orders_7d,
        sum(order_count) AS orders_30d,
        sum(total_revenue) FILTER (WHERE recent) AS revenue_7d,
        sum(total_revenue) AS revenue_30d,
        sum(net_revenue) FILTER (WHERE recent) AS net_revenue_7d,
        sum(net_revenue) AS net_revenue_30d,
        sum(cancelled_count) FILTER (WHERE recent) AS cancelled_7d,
        sum(cancelled_count) AS cancelled_30d
    FROM (
        SELECT m.*, metric_date > (now() AT TIME ZONE 'UTC')::date - 7 AS recent
        FROM order_metrics m
        WHERE metric_date > (now() AT TIME ZONE 'UTC')::date - 30
    ) m GROUP BY branch_id
), seen AS (
    -- Hours whose visitors are known: an order in any other hour has no visitor to be a share of.
    SELECT branch_id,
        sum(visitors) FILTER (WHERE recent) AS visitors_7d,
        sum(visitors) AS visitors_30d,
        sum(orders) FILTER (WHERE recent) AS orders_7d,
        sum(orders) AS orders_30d
    FROM (
        SELECT h.*, hour >= date_trunc('day', now(), 'UTC') - interval '6 days' AS recent
        FROM store_hourly h
        WHERE hour >= date_trunc('day', now(), 'UTC') - interval '29 days'
            AND visitors IS NOT NULL
    ) h GROUP BY branch_id
)
SELECT branch_id,
    coalesce(sold.orders_7d, 0)::bigint AS orders_7d,
    coalesce(sold.orders_30d, 0)::bigint AS orders_30d,
    coalesce(revenue_7d, 0) AS revenue_7d,
    coalesce(revenue_30d, 0) AS revenue_30d,
    coalesce(net_revenue_7d, 0) AS net_revenue_7d,
    coalesce(net_revenue_30d, 0) AS net_revenue_30d,
    round(revenue_7d / nullif(sold.orders_7d, 0), 2) AS average_order_value_7d,
    round(revenue_30d / nullif(sold.orders_30d, 0), 2) AS average_order_value_30d,
    round(cancelled_7d / nullif(sold.orders_7d, 0), 4) AS cancellation_rate_7d,
    round(cancelled_30d / nullif(sold.orders_30d, 0), 4) AS cancellation_rate_30d,
    visitors_7d::bigint AS visitors_7d,
    visitors_30d::bigint AS visitors_30d,
    round(seen.orders_7d / nullif(visitors_7d, 0), 4) AS conversion_rate_7d,
    round(seen.orders_30d / nullif(visitors_30d, 0), 4) AS conversion_rate_30d
FROM sold FULL JOIN seen USING (branch_id);
COMMENT ON VIEW v_branch_performance IS
    'One branch over the last 7 and the last 30 days, tills and cameras. Key: branch_id.';

CREATE VIEW v_product_popularity AS
SELECT branch_id, product_id, name, category, orders, net_quantity, net_revenue,
    rank() OVER (PARTITION BY branch_id ORDER BY net_quantity DESC) AS rank_by_quantity,
    rank() OVER (PARTITION BY branch_id ORDER BY net_revenue DESC) AS rank_by_revenue
FROM (
    SELECT branch_id, product_id,
        (array_agg(name ORDER BY name_version DESC))[1] AS name,
        (array_agg(category ORDER BY name_version DESC))[1] AS category,
        sum(order_count - cancelled_orders)::bigint AS orders,
        sum(net_quantity)::bigint AS net_quantity,
        sum(net_revenue) AS net_revenue
    FROM order_items_analytics
    WHERE day > (now() AT TIME ZONE 'UTC')::date - 30
    GROUP BY branch_id, product_id
) p
WHERE net_quantity > 0;
COMMENT ON VIEW v_product_popularity IS
    'One product that a branch sold in the last 30 days, with its ranks there; cancelled orders do not count. Key: branch_id, product_id.';

CREATE VIEW v_recent_orders AS
SELECT order_id, customer_id, branch_id, region, status, payment_method, currency, total_price,
    subtotal, item_count, created_at, last_event_at, now() - created_at AS age,
    now() - last_event_at AS idle
FROM orders_processed
WHERE created_at IS NOT NULL
ORDER BY created_at DESC;
COMMENT ON VIEW v_recent_orders IS
    'One order whose body has arrived, the newest ones first: read it with a LIMIT. Key: order_id.';
