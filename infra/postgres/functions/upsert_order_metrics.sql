-- Applies one batch of order events to order_metrics. The newest version of an order wins; body and
-- status have separate versions, since a status change carries no body. The result depends on the
-- set of versions applied, not on their order. An order counts once, in the UTC hour of its
-- created_at, at the branch of its sale: both as its oldest body has them.
-- Reads: pg_temp.newest_orders (order_id, status, status_version; sale_branch_id, created_at,
-- total_price, payment_method, body_version, null without a body), one row per order, sorted.
-- Writes: order_contributions (the state of each order); order_metrics, key (metric_date, hour,
-- branch_id).
-- Transactions may overlap, also with the same orders: each locks its orders by order_id, then
-- order_metrics by one advisory lock until its commit, so change_id rises in commit order.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION upsert_order_metrics() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE IF NOT EXISTS change (branch_id text, hour timestamptz, orders bigint,
        total numeric, net numeric, pending bigint, processing bigint, completed bigint,
        cancelled bigint, cash bigint, online bigint) ON COMMIT DELETE ROWS;

    -- The rows before and after are those of the upsert itself, so a commit in between counts.
    WITH upserted AS (
        INSERT INTO order_contributions AS c (order_id, branch_id, hour, total_price,
            payment_method, status, body_version, sale_version, status_version)
        SELECT n.order_id, n.sale_branch_id, date_trunc('hour', n.created_at, 'UTC'),
            n.total_price::numeric, n.payment_method, n.status, n.body_version, n.sale_version,
            n.status_version
        FROM pg_temp.newest_orders n
        ON CONFLICT (order_id) DO UPDATE SET
            branch_id = CASE WHEN EXCLUDED.sale_version
                < coalesce(c.sale_version, c.body_version, '~')
                THEN EXCLUDED.branch_id ELSE c.branch_id END,
            hour = CASE WHEN EXCLUDED.sale_version
                < coalesce(c.sale_version, c.body_version, '~')
                THEN EXCLUDED.hour ELSE c.hour END,
            total_price = CASE WHEN EXCLUDED.body_version > coalesce(c.body_version, '')
                THEN EXCLUDED.total_price ELSE c.total_price END,
            payment_method = CASE WHEN EXCLUDED.body_version > coalesce(c.body_version, '')
                THEN EXCLUDED.payment_method ELSE c.payment_method END,
            body_version = greatest(EXCLUDED.body_version, c.body_version),
            sale_version = least(EXCLUDED.sale_version, coalesce(c.sale_version, c.body_version)),
            status = CASE WHEN EXCLUDED.status_version > c.status_version
                THEN EXCLUDED.status ELSE c.status END,
            status_version = greatest(EXCLUDED.status_version, c.status_version)
        WHERE EXCLUDED.status_version > c.status_version
            OR EXCLUDED.body_version > coalesce(c.body_version, '')
            OR EXCLUDED.sale_version < coalesce(c.sale_version, c.body_version)
        RETURNING old AS before, new AS after
    ), touched AS (
        SELECT (before).*, -1 AS sign FROM upserted UNION ALL SELECT (after).*, 1 FROM upserted
    )
    INSERT INTO change
    SELECT t.branch_id, t.hour, sum(sign), sum(sign * t.total_price),
        coalesce(sum(sign * t.total_price) FILTER (WHERE status <> 'cancelled'), 0),
        coalesce(sum(sign) FILTER (WHERE status = 'pending'), 0),
        coalesce(sum(sign) FILTER (WHERE status = 'processing'), 0),
        coalesce(sum(sign) FILTER (WHERE status = 'completed'), 0),
        coalesce(sum(sign) FILTER (WHERE status = 'cancelled'), 0),
        coalesce(sum(sign) FILTER (WHERE payment_method = 'cash'), 0),
        coalesce(sum(sign) FILTER (WHERE payment_method = 'online'), 0)
    FROM touched t WHERE t.hour IS NOT NULL GROUP BY t.branch_id, t.hour;

    PERFORM pg_advisory_xact_lock(hashtextextended('order_metrics', 0));

    UPDATE order_metrics m SET
        order_count = m.order_count + d.orders,
        total_revenue = m.total_revenue + d.total,
        net_revenue = m.net_revenue + d.net,
        pending_count = m.pending_count + d.pending,
        processing_count = m.processing_count + d.processing,
        completed_count = m.completed_count + d.completed,
        cancelled_count = m.cancelled_count + d.cancelled,
        cash_count = m.cash_count + d.cash,
        online_count = m.online_count + d.online,
        revision = m.revision + 1,
        updated_at = now(), change_id = nextval('changes')
    FROM change d
    WHERE m.metric_date = (d.hour AT TIME ZONE 'UTC')::date AND m.hour = d.hour
        AND m.branch_id = d.branch_id;

    INSERT INTO order_metrics (metric_date, hour, branch_id, order_count, total_revenue,
        net_revenue, pending_count, processing_count, completed_count, cancelled_count,
        cash_count, online_count, updated_at)
    SELECT (d.hour AT TIME ZONE 'UTC')::date, d.hour, d.branch_id, d.orders, d.total, d.net,
        d.pending, d.processing, d.completed, d.cancelled, d.cash, d.online, now()
    FROM change d WHERE NOT EXISTS (SELECT FROM order_metrics m
        WHERE m.metric_date = (d.hour AT TIME ZONE 'UTC')::date AND m.hour = d.hour
            AND m.branch_id = d.branch_id);
END $$;
