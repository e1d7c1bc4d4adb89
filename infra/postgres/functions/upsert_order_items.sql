-- Applies one batch of order events to order_items_analytics. The newest body of an order replaces
-- the lines of the older one; body and status have separate versions, since a status change carries
-- no body. An order counts in the branch and on the day of its oldest body: where it was sold. Name
-- and category are the newest that any body of that branch, day and currency had. The lines of a
-- return (order.returned) are negative; they count as returned on its own day. The result depends on
-- the set of versions applied, not on their order.
-- Reads: pg_temp.newest_orders (order_id, status, status_version; sale_branch_id, created_at,
-- currency, is_return, body_version, null without a body), one row per order, sorted;
-- pg_temp.order_events (order_id, branch_id, created_at, payload, version), one row per event;
-- created_at is null without a body.
-- Writes: product_orders and order_items (the state of each order); order_items_analytics, key
-- (branch_id, day, product_id, currency), day in UTC.
-- Transactions may overlap, also with the same orders: each locks its orders by order_id, then
-- order_items_analytics by one advisory lock until its commit, so change_id rises in commit order.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION upsert_order_items() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE IF NOT EXISTS staged_lines (order_id text, version text COLLATE "C",
        branch_id text, day date, currency text, line_no bigint, product_id text, name text,
        category text, quantity numeric, unit_price numeric, discount numeric)
        ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS changed_orders (before product_orders, after product_orders)
        ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS product_shares (branch_id text, day date, product_id text,
        currency text, quantity numeric, revenue numeric, is_return boolean, cancelled boolean,
        sign integer) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS product_changes (branch_id text, day date, product_id text,
        currency text, name text, category text, version text COLLATE "C", orders bigint,
        quantity numeric, revenue numeric, cancelled_orders bigint, cancelled_quantity numeric,
        cancelled_revenue numeric, returned_quantity numeric, returned_revenue numeric)
        ON COMMIT DELETE ROWS;

    INSERT INTO staged_lines
    SELECT v.order_id, v.version, v.branch_id, (v.created_at AT TIME ZONE 'UTC')::date,
        v.payload #>> '{order,currency}', i.line_no, i.product_id, i.name, i.category, i.quantity,
        i.unit_price,
        CASE WHEN (v.payload ->> 'schema_version')::numeric >= 3  -- an unknown field before
            THEN coalesce(i.discount::numeric, 0) ELSE 0 END
    FROM pg_temp.order_events v
    CROSS JOIN LATERAL ROWS FROM (jsonb_to_recordset(v.payload #> '{order,items}') AS (
        product_id text, name text, category text, quantity numeric, unit_price numeric,
        discount text)) WITH ORDINALITY
        AS i (product_id, name, category, quantity, unit_price, discount, line_no)
    WHERE v.created_at IS NOT NULL;

    -- The rows before and after are those of the upsert itself, so a commit in between counts.
    WITH upserted AS (
        INSERT INTO product_orders AS o (order_id, branch_id, day, currency, is_return, status,
            body_version, sale_version, status_version)
        SELECT n.order_id, n.sale_branch_id, (n.created_at AT TIME ZONE 'UTC')::date, n.currency,
            n.is_return, n.status, n.body_version, n.sale_version, n.status_version
        FROM pg_temp.newest_orders n
        ON CONFLICT (order_id) DO UPDATE SET
            branch_id = CASE WHEN EXCLUDED.sale_version
                < coalesce(o.sale_version, o.body_version, '~')
                THEN EXCLUDED.branch_id ELSE o.branch_id END,
            day = CASE WHEN EXCLUDED.sale_version
                < coalesce(o.sale_version, o.body_version, '~')
                THEN EXCLUDED.day ELSE o.day END,
            currency = CASE WHEN EXCLUDED.body_version > coalesce(o.body_version, '')
                THEN EXCLUDED.currency ELSE o.currency END,
            is_return = CASE WHEN EXCLUDED.sale_version
                < coalesce(o.sale_version, o.body_version, '~')
                THEN EXCLUDED.is_return ELSE o.is_return END,
            body_version = greatest(EXCLUDED.body_version, o.body_version),
            sale_version = least(EXCLUDED.sale_version, coalesce(o.sale_version, o.body_version)),
            status = CASE WHEN EXCLUDED.status_version > o.status_version
                THEN EXCLUDED.status ELSE o.status END,
            status_version = greatest(EXCLUDED.status_version, o.status_version)
        WHERE EXCLUDED.status_version > o.status_version
            OR EXCLUDED.body_version > coalesce(o.body_version, '')
            OR EXCLUDED.sale_version < coalesce(o.sale_version, o.body_version)
        RETURNING old AS before, new AS after
    )
    INSERT INTO changed_orders SELECT u.before, u.after FROM upserted u
    WHERE (u.after).body_version IS DISTINCT FROM (u.before).body_version
        OR (u.after).sale_version IS DISTINCT FROM (u.before).sale_version
        OR ((u.after).body_version IS NOT NULL
            AND ((u.after).status = 'cancelled') <> ((u.before).status = 'cancelled'));

    INSERT INTO product_shares
    SELECT (c.before).branch_id, (c.before).day, i.product_id, (c.before).currency,
        sum(i.quantity), sum(i.line_total), (c.before).is_return,
        (c.before).status = 'cancelled', -1
    FROM changed_orders c JOIN order_items i ON i.order_id = (c.before).order_id
    GROUP BY i.order_id, i.product_id, 1, 2, 4, 7, 8;

    DELETE FROM order_items i USING changed_orders c
    WHERE i.order_id = (c.before).order_id AND (c.after).body_version > (c.before).body_version;

    INSERT INTO order_items (order_id, line_no, product_id, name, category, quantity, unit_price,
        discount, currency)
    SELECT l.order_id, l.line_no, l.product_id, l.name, l.category, l.quantity, l.unit_price,
        l.discount, l.currency
    FROM staged_lines l
    JOIN changed_orders c ON (c.after).order_id = l.order_id AND (c.after).body_version = l.version
    WHERE (c.after).body_version IS DISTINCT FROM (c.before).body_version
    ON CONFLICT DO NOTHING;  -- the same version twice in one batch

    -- Where the newest body is of another branch than the sale, its products need a name there.
    INSERT INTO staged_lines
    SELECT i.order_id, (c.after).body_version, (c.after).branch_id, (c.after).day,
        (c.after).currency, i.line_no, i.product_id, i.name, i.category, i.quantity, i.unit_price,
        i.discount
    FROM changed_orders c JOIN order_items i ON i.order_id = (c.after).order_id
    WHERE (c.after).sale_version < (c.after).body_version;

    INSERT INTO product_shares
    SELECT (c.after).branch_id, (c.after).day, i.product_id, (c.after).currency,
        sum(i.quantity), sum(i.line_total), (c.after).is_return,
        (c.after).status = 'cancelled', 1
    FROM changed_orders c JOIN order_items i ON i.order_id = (c.after).order_id
    GROUP BY i.order_id, i.product_id, 1, 2, 4, 7, 8;

    INSERT INTO product_changes
    SELECT branch_id, day, product_id, currency, n.name, n.category, n.version,
        coalesce(d.orders, 0), coalesce(d.quantity, 0), coalesce(d.revenue, 0),
        coalesce(d.cancelled_orders, 0), coalesce(d.cancelled_quantity, 0),
        coalesce(d.cancelled_revenue, 0), coalesce(d.returned_quantity, 0),
        coalesce(d.returned_revenue, 0)
    FROM (
        SELECT s.branch_id, s.day, s.product_id, s.currency,
            sum(sign) FILTER (WHERE NOT is_return) AS orders,
            sum(sign * s.quantity) FILTER (WHERE NOT is_return) AS quantity,
            sum(sign * s.revenue) FILTER (WHERE NOT is_return) AS revenue,
            sum(sign) FILTER (WHERE cancelled AND NOT is_return) AS cancelled_orders,
            sum(sign * s.quantity) FILTER (WHERE cancelled AND NOT is_return) AS cancelled_quantity,
            sum(sign * s.revenue) FILTER (WHERE cancelled AND NOT is_return) AS cancelled_revenue,
            -sum(sign * s.quantity) FILTER (WHERE is_return AND NOT cancelled) AS returned_quantity,
            -sum(sign * s.revenue) FILTER (WHERE is_return AND NOT cancelled) AS returned_revenue
        FROM product_shares s GROUP BY s.branch_id, s.day, s.product_id, s.currency
    ) d FULL JOIN (
        SELECT DISTINCT ON (l.branch_id, l.day, l.product_id, l.currency) l.branch_id, l.day,
            l.product_id, l.currency, l.name, l.category, l.version
        FROM staged_lines l
        ORDER BY l.branch_id, l.day, l.product_id, l.currency, l.version DESC, l.line_no DESC
    ) n USING (branch_id, day, product_id, currency);

    PERFORM pg_advisory_xact_lock(hashtextextended('order_items_analytics', 0));

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
        returned_quantity = a.returned_quantity + c.returned_quantity,
        returned_revenue = a.returned_revenue + c.returned_revenue,
        revision = a.revision + 1, updated_at = now(), change_id = nextval('changes')
    FROM product_changes c
    WHERE a.branch_id = c.branch_id AND a.day = c.day AND a.product_id = c.product_id
        AND a.currency = c.currency
        AND (c.version > a.name_version OR (c.orders, c.quantity, c.revenue, c.cancelled_orders,
            c.cancelled_quantity, c.cancelled_revenue, c.returned_quantity, c.returned_revenue)
            <> (0, 0, 0, 0, 0, 0, 0, 0));

    INSERT INTO order_items_analytics (branch_id, day, product_id, currency, name, category,
        order_count, quantity, revenue, cancelled_orders, cancelled_quantity, cancelled_revenue,
        returned_quantity, returned_revenue, name_version, revision, updated_at)
    SELECT c.branch_id, c.day, c.product_id, c.currency, c.name, c.category, c.orders, c.quantity,
        c.revenue, c.cancelled_orders, c.cancelled_quantity, c.cancelled_revenue,
        c.returned_quantity, c.returned_revenue, c.version, 1, now()
    FROM product_changes c  -- a product without a row comes with its name
    WHERE c.version IS NOT NULL AND NOT EXISTS (SELECT FROM order_items_analytics a
        WHERE a.branch_id = c.branch_id AND a.day = c.day AND a.product_id = c.product_id
            AND a.currency = c.currency);
END $$;
