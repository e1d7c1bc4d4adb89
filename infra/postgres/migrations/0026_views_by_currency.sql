-- The views with the currency in their key. Amounts have the decimals of their currency.
-- depends: 0025_trusted_conversion

CREATE VIEW v_daily_order_summary AS
SELECT metric_date AS day, branch_id, currency,
    sum(order_count)::bigint AS orders,
    round(sum(total_revenue), currency_places(currency)) AS total_revenue,
    round(sum(net_revenue), currency_places(currency)) AS net_revenue,
    round(sum(total_revenue) / nullif(sum(order_count), 0), currency_places(currency))
        AS average_order_value,
    sum(pending_count)::bigint AS pending,
    sum(processing_count)::bigint AS processing,
    sum(completed_count)::bigint AS completed,
    sum(cancelled_count)::bigint AS cancelled,
    round(sum(cancelled_count) / nullif(sum(order_count), 0), 4) AS cancellation_rate,
    sum(cash_count)::bigint AS cash,
    sum(online_count)::bigint AS online,
    sum(in_store_count)::bigint AS in_store,
    sum(return_count)::bigint AS returns,
    round(sum(refunds), currency_places(currency)) AS refunds,
    -- Once an hour of a later day is final, no event of this day is on time.
    bool_and(is_final) AND metric_date < (SELECT max(metric_date) FROM order_metrics WHERE is_final)
        AS is_final,
    max(corrected_at) AS corrected_at,
    max(updated_at) AS updated_at
FROM order_metrics
GROUP BY metric_date, branch_id, currency;
COMMENT ON VIEW v_daily_order_summary IS
    'Orders created, and returns made, in one branch on one UTC day, in one currency. Key: day, branch_id, currency.';

CREATE VIEW v_branch_performance AS
WITH sold AS (
    SELECT branch_id, currency,
        sum(order_count) FILTER (WHERE recent) AS orders_7d,
        sum(order_count) AS orders_30d,
        sum(total_revenue) FILTER (WHERE recent) AS revenue_7d,
        sum(total_revenue) AS revenue_30d,
        sum(net_revenue) FILTER (WHERE recent) AS net_revenue_7d,
        sum(net_revenue) AS net_revenue_30d,
        sum(cancelled_count) FILTER (WHERE recent) AS cancelled_7d,
        sum(cancelled_count) AS cancelled_30d,
        currency_places(currency) AS places
    FROM (
        SELECT m.*, metric_date > (now() AT TIME ZONE 'UTC')::date - 7 AS recent
        FROM order_metrics m
        WHERE metric_date > (now() AT TIME ZONE 'UTC')::date - 30
    ) m GROUP BY branch_id, currency
), seen AS (
    -- The rate is that of the hours whose own rate is not withheld: orders and visitors of the same.
    SELECT branch_id,
        sum(visitors) FILTER (WHERE recent) AS visitors_7d,
        sum(visitors) AS visitors_30d,
        count(*) FILTER (WHERE recent AND trusted) AS trusted_hours_7d,
        count(*) FILTER (WHERE trusted) AS trusted_hours_30d,
        sum(visitors) FILTER (WHERE recent AND trusted) AS trusted_visitors_7d,
        sum(visitors) FILTER (WHERE trusted) AS trusted_visitors_30d,
        sum(orders_in_store) FILTER (WHERE recent AND trusted) AS bought_7d,
        sum(orders_in_store) FILTER (WHERE trusted) AS bought_30d,
        sum(orders_in_store_net) FILTER (WHERE recent AND trusted) AS kept_7d,
        sum(orders_in_store_net) FILTER (WHERE trusted) AS kept_30d,
        mode() WITHIN GROUP (ORDER BY conversion_withheld) FILTER (WHERE recent) AS withheld_7d,
        mode() WITHIN GROUP (ORDER BY conversion_withheld) AS withheld_30d
    FROM (
        SELECT h.*, conversion_withheld IS NULL AS trusted,
            hour >= date_trunc('day', now(), 'UTC') - interval '6 days' AS recent
        FROM store_hourly h
        WHERE hour >= date_trunc('day', now(), 'UTC') - interval '29 days'
    ) h GROUP BY branch_id
)
SELECT branch_id, currency,
    coalesce(orders_7d, 0)::bigint AS orders_7d,
    coalesce(orders_30d, 0)::bigint AS orders_30d,
    round(coalesce(revenue_7d, 0), places) AS revenue_7d,
    round(coalesce(revenue_30d, 0), places) AS revenue_30d,
    round(coalesce(net_revenue_7d, 0), places) AS net_revenue_7d,
    round(coalesce(net_revenue_30d, 0), places) AS net_revenue_30d,
    round(revenue_7d / nullif(orders_7d, 0), places) AS average_order_value_7d,
    round(revenue_30d / nullif(orders_30d, 0), places) AS average_order_value_30d,
    round(cancelled_7d / nullif(orders_7d, 0), 4) AS cancellation_rate_7d,
    round(cancelled_30d / nullif(orders_30d, 0), 4) AS cancellation_rate_30d,
    visitors_7d::bigint AS visitors_7d,
    visitors_30d::bigint AS visitors_30d,
    coalesce(trusted_hours_7d, 0) AS trusted_hours_7d,
    coalesce(trusted_hours_30d, 0) AS trusted_hours_30d,
    round(bought_7d / nullif(trusted_visitors_7d, 0), 4) AS conversion_rate_7d,
    round(bought_30d / nullif(trusted_visitors_30d, 0), 4) AS conversion_rate_30d,
    round(kept_7d / nullif(trusted_visitors_7d, 0), 4) AS conversion_rate_net_7d,
    round(kept_30d / nullif(trusted_visitors_30d, 0), 4) AS conversion_rate_net_30d,
    CASE WHEN trusted_hours_7d > 0 THEN NULL ELSE coalesce(withheld_7d, 'no visitors counted')
        END AS conversion_withheld_7d,
    CASE WHEN trusted_hours_30d > 0 THEN NULL ELSE coalesce(withheld_30d, 'no visitors counted')
        END AS conversion_withheld_30d
FROM sold FULL JOIN seen USING (branch_id);
COMMENT ON VIEW v_branch_performance IS
    'One branch and currency over the last 7 and the last 30 days; visitors and conversion are those of the branch in each of its currencies. Key: branch_id, currency.';

CREATE VIEW v_product_popularity AS
SELECT branch_id, product_id, currency, name, category, orders, net_quantity, net_revenue,
    rank() OVER (PARTITION BY branch_id, currency ORDER BY net_quantity DESC) AS rank_by_quantity,
    rank() OVER (PARTITION BY branch_id, currency ORDER BY net_revenue DESC) AS rank_by_revenue
FROM (
    SELECT branch_id, product_id, currency,
        (array_agg(name ORDER BY name_version DESC))[1] AS name,
        (array_agg(category ORDER BY name_version DESC))[1] AS category,
        sum(order_count - cancelled_orders)::bigint AS orders,
        sum(net_quantity) AS net_quantity,
        round(sum(net_revenue), currency_places(currency)) AS net_revenue
    FROM order_items_analytics
    WHERE day > (now() AT TIME ZONE 'UTC')::date - 30
    GROUP BY branch_id, product_id, currency
) p
WHERE net_quantity > 0;
COMMENT ON VIEW v_product_popularity IS
    'One product that a branch sold in one currency in the last 30 days, with its ranks there; cancelled orders do not count, returns do. Key: branch_id, product_id, currency.';
