-- Orders per branch and hour. An order counts once, in the hour of its created_at (UTC).
-- depends: 0002_orders

-- Rises with every change of a row that the lake mirrors; readers of a table use it as a cursor,
-- since a clock may step back and a sequence does not.
CREATE SEQUENCE changes AS bigint;

CREATE TABLE order_contributions (
    order_id       text PRIMARY KEY,
    branch_id      text,
    hour           timestamptz,
    total_price    numeric(12, 2),
    payment_method text,
    status         text NOT NULL,
    body_version   text COLLATE "C",
    status_version text COLLATE "C" NOT NULL
);
COMMENT ON TABLE order_contributions IS
    'What each order adds to order_metrics now: the state of real_time_metrics.';

CREATE TABLE order_metrics (
    metric_date         date NOT NULL,
    hour                timestamptz NOT NULL,
    branch_id           text NOT NULL,
    order_count         bigint NOT NULL CHECK (order_count >= 0),
    total_revenue       numeric(18, 2) NOT NULL CHECK (total_revenue >= 0),
    net_revenue         numeric(18, 2) NOT NULL,
    average_order_value numeric(18, 2) GENERATED ALWAYS AS
        (CASE WHEN order_count > 0 THEN round(total_revenue / order_count, 2) END) STORED,
    pending_count       bigint NOT NULL CHECK (pending_count >= 0),
    processing_count    bigint NOT NULL CHECK (processing_count >= 0),
    completed_count     bigint NOT NULL CHECK (completed_count >= 0),
    cancelled_count     bigint NOT NULL CHECK (cancelled_count >= 0),
    cash_count          bigint NOT NULL CHECK (cash_count >= 0),
    online_count        bigint NOT NULL CHECK (online_count >= 0),
    is_final            boolean NOT NULL DEFAULT false,
    revision            bigint NOT NULL DEFAULT 1,
    updated_at          timestamptz NOT NULL,
    change_id           bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (metric_date, hour, branch_id),
    CHECK (pending_count + processing_count + completed_count + cancelled_count = order_count),
    CHECK (cash_count + online_count = order_count)
);
CREATE INDEX order_metrics_branch ON order_metrics (branch_id, hour DESC);
CREATE INDEX order_metrics_open ON order_metrics (hour) WHERE NOT is_final;
CREATE UNIQUE INDEX order_metrics_change ON order_metrics (change_id);

-- Applies the batch in pg_temp.order_versions (one row per order event) to order_metrics. Newest version wins; body and status are versioned apart, since a
-- status change carries no body. The result depends on the set of versions seen, not on their order.
CREATE FUNCTION upsert_order_metrics(p_watermark timestamptz, p_final_after interval)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE IF NOT EXISTS touched
        (LIKE order_contributions, sign integer) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS change (branch_id text, hour timestamptz, orders bigint,
        total numeric, net numeric, pending bigint, processing bigint, completed bigint,
        cancelled bigint, cash bigint, online bigint) ON COMMIT DELETE ROWS;

    INSERT INTO touched SELECT c.*, -1 FROM order_contributions c
        WHERE c.order_id IN (SELECT v.order_id FROM pg_temp.order_versions v);

    INSERT INTO order_contributions AS c
    SELECT s.order_id, b.branch_id, b.hour, b.total_price, b.payment_method, s.status, b.version,
        s.version
    FROM (
        SELECT DISTINCT ON (v.order_id) v.order_id, v.status, v.version
        FROM pg_temp.order_versions v ORDER BY v.order_id, v.version COLLATE "C" DESC
    ) s LEFT JOIN (
        SELECT DISTINCT ON (v.order_id) v.order_id, v.branch_id,
            date_trunc('hour', v.created_at, 'UTC') AS hour, v.total_price, v.payment_method,
            v.version
        FROM pg_temp.order_versions v WHERE v.created_at IS NOT NULL
        ORDER BY v.order_id, v.version COLLATE "C" DESC
    ) b USING (order_id)
    ON CONFLICT (order_id) DO UPDATE SET
        (branch_id, hour, total_price, payment_method, body_version) = (
            SELECT n.branch_id, n.hour, n.total_price, n.payment_method, n.body_version
            FROM (VALUES
                (EXCLUDED.branch_id, EXCLUDED.hour, EXCLUDED.total_price, EXCLUDED.payment_method,
                    EXCLUDED.body_version),
                (c.branch_id, c.hour, c.total_price, c.payment_method, c.body_version)
            ) AS n (branch_id, hour, total_price, payment_method, body_version)
            ORDER BY n.body_version COLLATE "C" DESC NULLS LAST LIMIT 1),
        status = CASE WHEN EXCLUDED.status_version > c.status_version
            THEN EXCLUDED.status ELSE c.status END,
        status_version = greatest(EXCLUDED.status_version, c.status_version);

    INSERT INTO touched SELECT c.*, 1 FROM order_contributions c
        WHERE c.order_id IN (SELECT v.order_id FROM pg_temp.order_versions v);

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

    -- Two steps, since a check constraint would judge a negative increment before the conflict.
    INSERT INTO order_metrics (metric_date, hour, branch_id, order_count, total_revenue,
        net_revenue, pending_count, processing_count, completed_count, cancelled_count,
        cash_count, online_count, revision, updated_at)
    SELECT (d.hour AT TIME ZONE 'UTC')::date, d.hour, d.branch_id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        now() FROM change d
    ON CONFLICT DO NOTHING;

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

    UPDATE order_metrics m SET is_final = true, revision = m.revision + 1,
        updated_at = now(), change_id = nextval('changes')
    WHERE NOT m.is_final AND m.hour + interval '1 hour' + p_final_after <= p_watermark;
END $$;
