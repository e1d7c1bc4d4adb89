-- Recomputes order_items_analytics for the days of the staged orders. Versions that the stream has
-- written after bronze was read are newer and are kept.
-- Reads: pg_temp.newest_orders and order_events, of every accepted event of the orders.
-- Writes: product_orders, order_items, order_items_analytics, key (branch_id, day, product_id,
-- currency); unchanged rows keep their change_id.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION restate_order_items() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE IF NOT EXISTS restated_days (branch_id text, day date) ON COMMIT DELETE ROWS;

    INSERT INTO restated_days SELECT DISTINCT o.branch_id, o.day FROM product_orders o
    WHERE o.day IS NOT NULL
        AND o.order_id IN (SELECT v.order_id FROM pg_temp.newest_orders v);

    DELETE FROM product_orders o USING pg_temp.newest_orders n
    WHERE o.order_id = n.order_id
        AND greatest(o.status_version, o.body_version) <= n.status_version;

    PERFORM upsert_order_items();

    INSERT INTO restated_days SELECT DISTINCT o.branch_id, o.day FROM product_orders o
    WHERE o.day IS NOT NULL
        AND o.order_id IN (SELECT v.order_id FROM pg_temp.newest_orders v);

    WITH days AS (
        SELECT DISTINCT r.branch_id, r.day FROM restated_days r
    ), shares AS (
        SELECT o.branch_id, o.day, o.currency, o.order_id, i.product_id,
            sum(i.quantity) AS quantity, sum(i.line_total) AS revenue, o.is_return,
            o.status = 'cancelled' AS cancelled
        FROM days d JOIN product_orders o USING (branch_id, day) JOIN order_items i USING (order_id)
        GROUP BY o.order_id, i.product_id
    ), sold AS (
        SELECT k.branch_id, k.day, k.product_id, k.currency,
            count(*) FILTER (WHERE NOT is_return) AS orders,
            coalesce(sum(s.quantity) FILTER (WHERE NOT is_return), 0) AS quantity,
            coalesce(sum(s.revenue) FILTER (WHERE NOT is_return), 0) AS revenue,
            count(*) FILTER (WHERE cancelled AND NOT is_return) AS cancelled_orders,
            coalesce(sum(s.quantity) FILTER (WHERE cancelled AND NOT is_return), 0)
                AS cancelled_quantity,
            coalesce(sum(s.revenue) FILTER (WHERE cancelled AND NOT is_return), 0)
                AS cancelled_revenue,
            coalesce(-sum(s.quantity) FILTER (WHERE is_return AND NOT cancelled), 0)
                AS returned_quantity,
            coalesce(-sum(s.revenue) FILTER (WHERE is_return AND NOT cancelled), 0)
                AS returned_revenue
        FROM days d JOIN order_items_analytics k USING (branch_id, day)
        LEFT JOIN shares s USING (branch_id, day, product_id, currency)
        GROUP BY k.branch_id, k.day, k.product_id, k.currency
    )
    UPDATE order_items_analytics a SET
        order_count = s.orders, quantity = s.quantity, revenue = s.revenue,
        cancelled_orders = s.cancelled_orders, cancelled_quantity = s.cancelled_quantity,
        cancelled_revenue = s.cancelled_revenue, returned_quantity = s.returned_quantity,
        returned_revenue = s.returned_revenue,
        revision = a.revision + 1, updated_at = now(), change_id = nextval('changes')
    FROM sold s
    WHERE a.branch_id = s.branch_id AND a.day = s.day AND a.product_id = s.product_id
        AND a.currency = s.currency
        AND (a.order_count, a.quantity, a.revenue, a.cancelled_orders, a.cancelled_quantity,
            a.cancelled_revenue, a.returned_quantity, a.returned_revenue)
        IS DISTINCT FROM (s.orders, s.quantity, s.revenue, s.cancelled_orders,
            s.cancelled_quantity, s.cancelled_revenue, s.returned_quantity, s.returned_revenue);
END $$;
