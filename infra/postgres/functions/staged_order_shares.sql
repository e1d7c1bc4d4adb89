-- What the orders in pg_temp.product_versions contribute to order_items_analytics now.
-- Reads: pg_temp.product_versions, product_orders, order_items.
-- Returns: one row per order and product; day is the UTC day on which the order was created.
CREATE OR REPLACE FUNCTION staged_order_shares()
RETURNS TABLE (branch_id text, day date, product_id text, quantity bigint, revenue numeric,
    cancelled boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT o.branch_id, o.day, i.product_id, sum(i.quantity), sum(i.line_total),
        o.status = 'cancelled'
    FROM (SELECT DISTINCT v.order_id FROM pg_temp.product_versions v) v
    JOIN product_orders o USING (order_id) JOIN order_items i USING (order_id)
    GROUP BY o.order_id, i.product_id;
END $$;
