-- Applies one batch of order events to order_items_analytics. The newest body of an order replaces
-- the lines of the older one; body and status have separate versions, since a status change carries
-- no body. Name and category are the newest that any body of that branch and day had. The result
-- depends on the set of versions applied, not on their order.
-- Reads: pg_temp.product_versions (order_id, branch_id, created_at, items_json, status, version),
-- one row per order event; created_at and items_json are null without a body.
-- Writes: product_orders and order_items (the state of each order); order_items_analytics, key
-- (branch_id, day, product_id), day in UTC.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION upsert_order_items() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE IF NOT EXISTS product_shares (branch_id text, day date, product_id text,
        quantity bigint, revenue numeric, cancelled boolean, sign integer) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS product_names (branch_id text, day date, product_id text,
        name text, category text, version text COLLATE "C") ON COMMIT DELETE ROWS;

    INSERT INTO product_shares SELECT s.*, -1 FROM staged_order_shares() s;

    INSERT INTO product_orders AS o
    SELECT s.order_id, b.branch_id, b.day, s.status, b.version, s.version
    FROM (
        SELECT DISTINCT ON (v.order_id) v.order_id, v.status, v.version
        FROM pg_temp.product_versions v ORDER BY v.order_id, v.version COLLATE "C" DESC
    ) s LEFT JOIN (
        SELECT DISTINCT ON (v.order_id) v.order_id, v.branch_id,
            (v.created_at AT TIME ZONE 'UTC')::date AS day, v.version
        FROM pg_temp.product_versions v WHERE v.created_at IS NOT NULL
        ORDER BY v.order_id, v.version COLLATE "C" DESC
    ) b USING (order_id)
    ON CONFLICT (order_id) DO UPDATE SET
        branch_id = CASE WHEN EXCLUDED.body_version > coalesce(o.body_version, '')
            THEN EXCLUDED.branch_id ELSE o.branch_id END,
        day = CASE WHEN EXCLUDED.body_version > coalesce(o.body_version, '')
            THEN EXCLUDED.day ELSE o.day END,
        body_version = greatest(EXCLUDED.body_version, o.body_version),
        status = CASE WHEN EXCLUDED.status_version > o.status_version
            THEN EXCLUDED.status ELSE o.status END,
        status_version = greatest(EXCLUDED.status_version, o.status_version);

    DELETE FROM order_items i USING product_orders o, pg_temp.product_versions v
    WHERE i.order_id = o.order_id AND o.order_id = v.order_id
        AND o.body_version = v.version COLLATE "C";

    INSERT INTO order_items (order_id, line_no, product_id, name, category, quantity, unit_price)
    SELECT o.order_id, i.line_no, i.product_id, i.name, i.category, i.quantity, i.unit_price
    FROM pg_temp.product_versions v
    JOIN product_orders o ON o.order_id = v.order_id AND o.body_version = v.version COLLATE "C"
    CROSS JOIN LATERAL ROWS FROM (jsonb_to_recordset(v.items_json) AS (product_id text, name text,
        category text, quantity integer, unit_price numeric)) WITH ORDINALITY
        AS i (product_id, name, category, quantity, unit_price, line_no)
    ON CONFLICT DO NOTHING;  -- the same version twice in one batch

    INSERT INTO product_shares SELECT s.*, 1 FROM staged_order_shares() s;

    INSERT INTO product_names
    SELECT DISTINCT ON (v.branch_id, day, i.product_id) v.branch_id,
        (v.created_at AT TIME ZONE 'UTC')::date AS day, i.product_id, i.name, i.category, v.version
    FROM pg_temp.product_versions v
    CROSS JOIN LATERAL ROWS FROM (jsonb_to_recordset(v.items_json) AS (product_id text, name text,
        category text)) WITH ORDINALITY AS i (product_id, name, category, line_no)
    WHERE v.created_at IS NOT NULL
    ORDER BY v.branch_id, day, i.product_id, v.version COLLATE "C" DESC, i.line_no DESC;

    -- Two steps, since a check constraint would reject a negative increment before the conflict.
    INSERT INTO order_items_analytics (branch_id, day, product_id, name, category, order_count,
        quantity, revenue, cancelled_orders, cancelled_quantity, cancelled_revenue, name_version,
        updated_at)
    SELECT n.branch_id, n.day, n.product_id, n.name, n.category, 0, 0, 0, 0, 0, 0, n.version, now()
    FROM product_names n
    ON CONFLICT DO NOTHING;

    WITH delta AS (
        SELECT s.branch_id, s.day, s.product_id, sum(sign) AS orders,
            sum(sign * s.quantity) AS quantity, sum(sign * s.revenue) AS revenue,
            coalesce(sum(sign) FILTER (WHERE cancelled), 0) AS cancelled_orders,
            coalesce(sum(sign * s.quantity) FILTER (WHERE cancelled), 0) AS cancelled_quantity,
            coalesce(sum(sign * s.revenue) FILTER (WHERE cancelled), 0) AS cancelled_revenue
        FROM product_shares s GROUP BY s.branch_id, s.day, s.product_id
    ), change AS (
        SELECT branch_id, day, product_id, n.name, n.category, n.version,
            coalesce(d.orders, 0) AS orders, coalesce(d.quantity, 0) AS quantity,
            coalesce(d.revenue, 0) AS revenue, coalesce(d.cancelled_orders, 0) AS cancelled_orders,
            coalesce(d.cancelled_quantity, 0) AS cancelled_quantity,
            coalesce(d.cancelled_revenue, 0) AS cancelled_revenue
        FROM delta d FULL JOIN product_names n USING (branch_id, day, product_id)
    )
    UPDATE order_items_analytics a SET
        name = CASE WHEN c.version > a.name_version THEN c.name ELSE a.name END,
        category = CASE WHEN c.version > a.name_version THEN c.category ELSE a.category END,
        name_version = greatest(c.version, a.name_version),
        order_count = a.order_count + c.orders,
        quantity = a.quantity + c.quantity,
        revenue = a.revenue + c.revenue,
        cancelled_orders = a.cancelled_orders + c.cancelled_orders,
        cancelled_quantity = a.cancelled_quantity + c.cancelled_quantity,
        cancelled_revenue = a.cancelled_revenue + c.cancelled_revenue,
        revision = a.revision + 1, updated_at = now(), change_id = nextval('changes')
    FROM change c
    WHERE a.branch_id = c.branch_id AND a.day = c.day AND a.product_id = c.product_id
        AND (c.version > a.name_version OR (c.orders, c.quantity, c.revenue, c.cancelled_orders,
            c.cancelled_quantity, c.cancelled_revenue) <> (0, 0, 0, 0, 0, 0));
END $$;
