-- Recomputes order_metrics for one hour, and for the other hours in which the staged orders
-- counted. Versions that the stream has written after bronze was read are newer and are kept.
-- Arguments: p_hour, the beginning of a UTC hour.
-- Reads: pg_temp.newest_orders, of every accepted event of the orders created in p_hour.
-- Writes: order_contributions; order_metrics, key (metric_date, hour, branch_id); unchanged rows
-- keep their change_id.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION restate_order_metrics(p_hour timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    hours timestamptz[];
BEGIN
    SELECT array_agg(DISTINCT c.hour) INTO hours FROM order_contributions c
    WHERE c.order_id IN (SELECT v.order_id FROM pg_temp.newest_orders v);

    DELETE FROM order_contributions c USING pg_temp.newest_orders n
    WHERE c.order_id = n.order_id
        AND greatest(c.status_version, c.body_version) <= n.status_version;

    PERFORM upsert_order_metrics();

    UPDATE order_metrics m SET
        order_count = a.orders, total_revenue = a.total, net_revenue = a.net,
        pending_count = a.pending, processing_count = a.processing,
        completed_count = a.completed, cancelled_count = a.cancelled,
        cash_count = a.cash, online_count = a.online,
        revision = m.revision + 1, updated_at = now(), change_id = nextval('changes')
    FROM (
        SELECT k.hour, k.branch_id, count(c.order_id) AS orders,
            coalesce(sum(c.total_price), 0) AS total,
            coalesce(sum(c.total_price) FILTER (WHERE c.status <> 'cancelled'), 0) AS net,
            count(*) FILTER (WHERE c.status = 'pending') AS pending,
            count(*) FILTER (WHERE c.status = 'processing') AS processing,
            count(*) FILTER (WHERE c.status = 'completed') AS completed,
            count(*) FILTER (WHERE c.status = 'cancelled') AS cancelled,
            count(*) FILTER (WHERE c.payment_method = 'cash') AS cash,
            count(*) FILTER (WHERE c.payment_method = 'online') AS online
        FROM order_metrics k LEFT JOIN order_contributions c
            ON c.hour = k.hour AND c.branch_id = k.branch_id
        WHERE k.hour = p_hour OR k.hour = ANY (hours)
        GROUP BY k.hour, k.branch_id
    ) a
    WHERE m.hour = a.hour AND m.branch_id = a.branch_id
        AND (m.order_count, m.total_revenue, m.net_revenue, m.pending_count, m.processing_count,
            m.completed_count, m.cancelled_count, m.cash_count, m.online_count)
        IS DISTINCT FROM (a.orders, a.total, a.net, a.pending, a.processing, a.completed,
            a.cancelled, a.cash, a.online);
END $$;
