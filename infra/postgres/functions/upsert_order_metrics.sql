-- Applies one batch of order events to order_metrics and payments_hourly. The newest version of an
-- order wins; body and status have separate versions, since a status change carries no body. The
-- result depends on the set of versions applied, not on their order. An order counts once, in the
-- UTC hour of its created_at, at the branch of its sale: both as its oldest body has them. A return
-- (order.returned) lowers net revenue and net amounts in its own hour, and is no order.
-- Reads: pg_temp.newest_orders (order_id, status, status_version; sale_branch_id, created_at,
-- currency, total_price, payment_method, payments, channel, is_return, body_version, null without a
-- body), one row per order, sorted.
-- Writes: order_contributions (the state of each order); order_metrics, key (metric_date, hour,
-- branch_id, currency); payments_hourly, key (hour, branch_id, currency, method).
-- Transactions may overlap, also with the same orders: each locks its orders by order_id, then both
-- tables by one advisory lock until its commit, so change_id rises in commit order.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION upsert_order_metrics() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE IF NOT EXISTS order_changes (branch_id text, hour timestamptz, currency text,
        orders bigint, total numeric, net numeric, pending bigint, processing bigint,
        completed bigint, cancelled bigint, cash bigint, online bigint, in_store bigint,
        in_store_cancelled bigint, in_store_total numeric, returns bigint, refunds numeric)
        ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS payment_changes (branch_id text, hour timestamptz,
        currency text, method text, orders bigint, total numeric, net numeric)
        ON COMMIT DELETE ROWS;

    -- The rows before and after are those of the upsert itself, so a commit in between counts.
    WITH upserted AS (
        INSERT INTO order_contributions AS c (order_id, branch_id, hour, currency, total_price,
            payment_method, payments, in_store, is_return, status, body_version, sale_version,
            status_version)
        SELECT n.order_id, n.sale_branch_id, date_trunc('hour', n.created_at, 'UTC'), n.currency,
            n.total_price::numeric, n.payment_method,
            CASE WHEN n.payment_method = 'mixed'
                    OR (n.payments #>> '{0,amount}')::numeric <> n.total_price::numeric
                THEN n.payments END,
            coalesce(n.channel = 'in_store', n.body_version IS NOT NULL), n.is_return, n.status,
            n.body_version, n.sale_version, n.status_version
        FROM pg_temp.newest_orders n
        ON CONFLICT (order_id) DO UPDATE SET
            branch_id = CASE WHEN EXCLUDED.sale_version
                < coalesce(c.sale_version, c.body_version, '~')
                THEN EXCLUDED.branch_id ELSE c.branch_id END,
            hour = CASE WHEN EXCLUDED.sale_version
                < coalesce(c.sale_version, c.body_version, '~')
                THEN EXCLUDED.hour ELSE c.hour END,
            currency = CASE WHEN EXCLUDED.body_version > coalesce(c.body_version, '')
                THEN EXCLUDED.currency ELSE c.currency END,
            total_price = CASE WHEN EXCLUDED.body_version > coalesce(c.body_version, '')
                THEN EXCLUDED.total_price ELSE c.total_price END,
            payment_method = CASE WHEN EXCLUDED.body_version > coalesce(c.body_version, '')
                THEN EXCLUDED.payment_method ELSE c.payment_method END,
            payments = CASE WHEN EXCLUDED.body_version > coalesce(c.body_version, '')
                THEN EXCLUDED.payments ELSE c.payments END,
            in_store = CASE WHEN EXCLUDED.body_version > coalesce(c.body_version, '')
                THEN EXCLUDED.in_store ELSE c.in_store END,
            is_return = CASE WHEN EXCLUDED.sale_version
                < coalesce(c.sale_version, c.body_version, '~')
                THEN EXCLUDED.is_return ELSE c.is_return END,
            body_version = greatest(EXCLUDED.body_version, c.body_version),
            sale_version = least(EXCLUDED.sale_version, coalesce(c.sale_version, c.body_version)),
            status = CASE WHEN EXCLUDED.status_version > c.status_version
                THEN EXCLUDED.status ELSE c.status END,
            status_version = greatest(EXCLUDED.status_version, c.status_version)
        WHERE EXCLUDED.status_version > c.status_version
            OR EXCLUDED.body_version > coalesce(c.body_version, '')
            OR EXCLUDED.sale_version < coalesce(c.sale_version, c.body_version)
        RETURNING old AS before, new AS after
    ), signed AS (
        SELECT (before).*, -1 AS sign FROM upserted UNION ALL SELECT (after).*, 1 FROM upserted
    ), touched AS (  -- the signs of an order, of a return, and of either where it is not cancelled
        SELECT s.*, CASE WHEN is_return THEN 0 ELSE sign END AS orders,
            CASE WHEN is_return AND status <> 'cancelled' THEN sign ELSE 0 END AS returns,
            CASE WHEN status <> 'cancelled' THEN sign ELSE 0 END AS net
        FROM signed s WHERE hour IS NOT NULL
    ), counted AS (
        INSERT INTO order_changes
        SELECT t.branch_id, t.hour, t.currency, sum(orders), sum(orders * t.total_price),
            sum(net * t.total_price), sum(orders * (status = 'pending')::int),
            sum(orders * (status = 'processing')::int), sum(orders * (status = 'completed')::int),
            sum(orders * (status = 'cancelled')::int),
            sum(orders * (payment_method IS NOT DISTINCT FROM 'cash')::int),
            sum(orders * (payment_method IS NOT DISTINCT FROM 'online')::int),
            sum(orders * in_store::int), sum(orders * (in_store AND status = 'cancelled')::int),
            sum(orders * in_store::int * t.total_price), sum(returns),
            -sum(returns * t.total_price)
        FROM touched t GROUP BY t.branch_id, t.hour, t.currency
    )
    INSERT INTO payment_changes
    SELECT p.branch_id, p.hour, p.currency, p.method, sum(orders), sum(orders * p.amount),
        sum(net * p.amount)
    FROM (
        SELECT t.branch_id, t.hour, t.currency, t.payment_method AS method, t.total_price AS amount,
            t.orders, t.net
        FROM touched t WHERE t.payments IS NULL AND t.payment_method IS NOT NULL
        UNION ALL
        SELECT t.branch_id, t.hour, t.currency, parts.method, parts.amount, t.orders, t.net
        FROM touched t CROSS JOIN LATERAL (
            SELECT j.method, sum(j.amount) AS amount
            FROM jsonb_to_recordset(t.payments) AS j (method text, amount numeric)
            GROUP BY j.method
        ) parts WHERE t.payments IS NOT NULL
    ) p GROUP BY p.branch_id, p.hour, p.currency, p.method;

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
        in_store_count = m.in_store_count + d.in_store,
        in_store_cancelled_count = m.in_store_cancelled_count + d.in_store_cancelled,
        in_store_revenue = m.in_store_revenue + d.in_store_total,
        return_count = m.return_count + d.returns,
        refunds = m.refunds + d.refunds,
        corrected_at = CASE WHEN m.is_final AND (d.orders, d.total, d.net) <> (0, 0, 0) THEN now()
            ELSE m.corrected_at END,
        revision = m.revision + 1,
        updated_at = now(), change_id = nextval('changes')
    FROM order_changes d
    WHERE m.metric_date = (d.hour AT TIME ZONE 'UTC')::date AND m.hour = d.hour
        AND m.branch_id = d.branch_id AND m.currency = d.currency;

    INSERT INTO order_metrics (metric_date, hour, branch_id, currency, order_count, total_revenue,
        net_revenue, pending_count, processing_count, completed_count, cancelled_count, cash_count,
        online_count, in_store_count, in_store_cancelled_count, in_store_revenue, return_count,
        refunds, updated_at)
    SELECT (d.hour AT TIME ZONE 'UTC')::date, d.hour, d.branch_id, d.currency, d.orders, d.total,
        d.net, d.pending, d.processing, d.completed, d.cancelled, d.cash, d.online, d.in_store,
        d.in_store_cancelled, d.in_store_total, d.returns, d.refunds, now()
    FROM order_changes d WHERE NOT EXISTS (SELECT FROM order_metrics m
        WHERE m.metric_date = (d.hour AT TIME ZONE 'UTC')::date AND m.hour = d.hour
            AND m.branch_id = d.branch_id AND m.currency = d.currency);

    INSERT INTO payments_hourly AS p (branch_id, hour, currency, method, order_count, total_amount,
        net_amount, updated_at)
    SELECT d.branch_id, d.hour, d.currency, d.method, d.orders, d.total, d.net, now()
    FROM payment_changes d
    ON CONFLICT (hour, branch_id, currency, method) DO UPDATE SET
        order_count = p.order_count + EXCLUDED.order_count,
        total_amount = p.total_amount + EXCLUDED.total_amount,
        net_amount = p.net_amount + EXCLUDED.net_amount,
        updated_at = now(), change_id = nextval('changes');
END $$;
