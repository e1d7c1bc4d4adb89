-- Recomputes order_metrics and payments_hourly for one hour, and for the other hours in which the
-- staged orders counted. Versions that the stream has written after bronze was read are newer and
-- are kept.
-- Arguments: p_hour, the beginning of a UTC hour.
-- Reads: pg_temp.newest_orders, of every accepted event of the orders created in p_hour.
-- Writes: order_contributions; order_metrics, key (metric_date, hour, branch_id, currency);
-- payments_hourly, key (hour, branch_id, currency, method); unchanged rows keep their change_id.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION restate_order_metrics(p_hour timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    hours timestamptz[];
BEGIN
    SELECT array_agg(DISTINCT c.hour) || p_hour INTO hours FROM order_contributions c
    WHERE c.order_id IN (SELECT v.order_id FROM pg_temp.newest_orders v);

    DELETE FROM order_contributions c USING pg_temp.newest_orders n
    WHERE c.order_id = n.order_id
        AND greatest(c.status_version, c.body_version) <= n.status_version;

    PERFORM upsert_order_metrics();

    UPDATE order_metrics m SET
        order_count = a.orders, total_revenue = a.total, net_revenue = a.net,
        pending_count = a.pending, processing_count = a.processing,
        completed_count = a.completed, cancelled_count = a.cancelled,
        cash_count = a.cash, online_count = a.online, in_store_count = a.in_store,
        in_store_cancelled_count = a.in_store_cancelled, in_store_revenue = a.in_store_total,
        return_count = a.returns, refunds = a.refunds,
        corrected_at = CASE WHEN (a.orders, a.total, a.net)
            <> (m.final_order_count, m.final_total_revenue, m.final_net_revenue) THEN now() END,
        revision = m.revision + 1, updated_at = now(), change_id = nextval('changes')
    FROM (
        SELECT k.hour, k.branch_id, k.currency, count(c.order_id) FILTER (WHERE sold) AS orders,
            coalesce(sum(c.total_price) FILTER (WHERE sold), 0) AS total,
            coalesce(sum(c.total_price) FILTER (WHERE c.status <> 'cancelled'), 0) AS net,
            count(*) FILTER (WHERE sold AND c.status = 'pending') AS pending,
            count(*) FILTER (WHERE sold AND c.status = 'processing') AS processing,
            count(*) FILTER (WHERE sold AND c.status = 'completed') AS completed,
            count(*) FILTER (WHERE sold AND c.status = 'cancelled') AS cancelled,
            count(*) FILTER (WHERE sold AND c.payment_method = 'cash') AS cash,
            count(*) FILTER (WHERE sold AND c.payment_method = 'online') AS online,
            count(*) FILTER (WHERE sold AND c.in_store) AS in_store,
            count(*) FILTER (WHERE sold AND c.in_store AND c.status = 'cancelled')
                AS in_store_cancelled,
            coalesce(sum(c.total_price) FILTER (WHERE sold AND c.in_store), 0) AS in_store_total,
            count(*) FILTER (WHERE c.is_return AND c.status <> 'cancelled') AS returns,
            coalesce(-sum(c.total_price) FILTER (WHERE c.is_return AND c.status <> 'cancelled'), 0)
                AS refunds
        FROM order_metrics k LEFT JOIN (
            SELECT *, is_return IS NOT TRUE AS sold FROM order_contributions
        ) c ON c.hour = k.hour AND c.branch_id = k.branch_id AND c.currency = k.currency
        WHERE k.hour = ANY (hours)
        GROUP BY k.hour, k.branch_id, k.currency
    ) a
    WHERE m.hour = a.hour AND m.branch_id = a.branch_id AND m.currency = a.currency
        AND (m.order_count, m.total_revenue, m.net_revenue, m.pending_count, m.processing_count,
            m.completed_count, m.cancelled_count, m.cash_count, m.online_count, m.in_store_count,
            m.in_store_cancelled_count, m.in_store_revenue, m.return_count, m.refunds)
        IS DISTINCT FROM (a.orders, a.total, a.net, a.pending, a.processing, a.completed,
            a.cancelled, a.cash, a.online, a.in_store, a.in_store_cancelled, a.in_store_total,
            a.returns, a.refunds);

    UPDATE payments_hourly m SET
        order_count = a.orders, total_amount = a.total, net_amount = a.net,
        updated_at = now(), change_id = nextval('changes')
    FROM (
        SELECT k.hour, k.branch_id, k.currency, k.method,
            count(p.order_id) FILTER (WHERE NOT p.is_return) AS orders,
            coalesce(sum(p.amount) FILTER (WHERE NOT p.is_return), 0) AS total,
            coalesce(sum(p.amount) FILTER (WHERE p.status <> 'cancelled'), 0) AS net
        FROM payments_hourly k LEFT JOIN (SELECT * FROM order_payments WHERE hour = ANY (hours)) p
            USING (hour, branch_id, currency, method)
        WHERE k.hour = ANY (hours)
        GROUP BY k.hour, k.branch_id, k.currency, k.method
    ) a
    WHERE m.hour = a.hour AND m.branch_id = a.branch_id AND m.currency = a.currency
        AND m.method = a.method AND (m.order_count, m.total_amount, m.net_amount)
        IS DISTINCT FROM (a.orders, a.total, a.net);
END $$;
