-- Recomputes every hour whose orders, footfall or finished queue visits changed since the newest
-- changes that store_hourly itself records, the hours in which such a visit had ended before it
-- continued, and the later hours of the same local day at the branch, since occupancy carries over.
-- Visitors are the entries of cameras with an entrance line; without a minute of one they are
-- unknown (null), not zero. Coverage is the share of the camera minutes of the whole hour in which
-- a frame arrived. Revenue is of orders in the currency of the branch.
-- Conversion and revenue per visitor are of orders made in the shop; they are withheld
-- (null), with the reason, without visitors, below the trusted coverage, or with more orders than
-- visitors; that by groups also with more orders than groups. Passers-by are unknown without a
-- minute of a camera with a passing line. Capture rate: visitors / (visitors + passers-by), withheld
-- below the trusted coverage.
-- Arguments: p_branches, [{"branch_id", "timezone", "currency", "cameras", "entrances",
-- "passing"}]: the number of cameras, and the ids of those with an entrance line and with a passing
-- line; p_trusted_coverage, 0..1.
-- Reads: order_metrics, footfall_minute, zone_visits.
-- Writes: store_hourly, key (branch_id, hour), hour in UTC.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION upsert_store_hourly(p_branches jsonb,
    p_trusted_coverage double precision) RETURNS void LANGUAGE sql AS $$
    INSERT INTO store_hourly AS s (branch_id, hour, local_hour, visitors, orders, orders_in_store,
        orders_in_store_net, conversion_rate, conversion_rate_net, conversion_withheld, currency,
        revenue, net_revenue, revenue_in_store, revenue_per_visitor, orders_other_currency,
        camera_coverage, queue_waits, queue_wait_p50, queue_wait_p95, occupancy_peak, is_final,
        corrected_at, orders_change_id, footfall_change_id, visits_change_id, updated_at,
        passers_by, groups, capture_rate, conversion_by_groups)
    WITH branch AS (
        SELECT * FROM jsonb_to_recordset(p_branches)
            AS b (branch_id text, timezone text, currency text, cameras integer, entrances text[],
                passing text[])
    ), seen AS (
        SELECT DISTINCT f.branch_id, date_trunc('hour', f.minute, 'UTC') AS hour
        FROM footfall_minute f
        WHERE f.change_id > (SELECT coalesce(max(footfall_change_id), 0) FROM store_hourly)
    ), ended AS (
        SELECT v.branch_id, date_trunc('hour', ended, 'UTC') AS hour, max(v.change_id) AS change_id
        FROM zone_visits v
        CROSS JOIN unnest(v.earlier_ends || CASE WHEN NOT v.is_open THEN v.exited_at END) AS ended
        WHERE v.kind = 'queue' AND ended IS NOT NULL
            AND v.change_id > (SELECT coalesce(max(visits_change_id), 0) FROM store_hourly)
        GROUP BY 1, 2
    ), changed AS (
        SELECT m.branch_id, m.hour FROM order_metrics m
        WHERE m.change_id > (SELECT coalesce(max(orders_change_id), 0) FROM store_hourly)
        UNION SELECT seen.branch_id, seen.hour FROM seen
        UNION SELECT ended.branch_id, ended.hour FROM ended
        UNION SELECT later.branch_id, later.hour FROM seen
        JOIN branch b USING (branch_id)
        JOIN store_hourly later ON later.branch_id = seen.branch_id AND later.hour > seen.hour
            AND later.hour < (((seen.hour + interval '59 minutes') AT TIME ZONE b.timezone)::date
                + 1)::timestamp AT TIME ZONE b.timezone
    ), days AS (
        SELECT DISTINCT c.branch_id, b.timezone, b.entrances,
            ((c.hour + part) AT TIME ZONE b.timezone)::date AS day
        FROM changed c JOIN branch b USING (branch_id),
            unnest(ARRAY[interval '0', interval '59 minutes']) AS part
    ), flow AS (
        SELECT d.branch_id, d.day, f.minute,
            sum(sum(f.entries - f.exits)) OVER today AS so_far
        FROM days d JOIN footfall_minute f ON f.branch_id = d.branch_id
            AND f.camera_id = ANY (d.entrances)
            AND f.minute >= d.day::timestamp AT TIME ZONE d.timezone
            AND f.minute < (d.day + 1)::timestamp AT TIME ZONE d.timezone
        GROUP BY d.branch_id, d.day, f.minute
        WINDOW today AS (PARTITION BY d.branch_id, d.day ORDER BY f.minute)
    ), inside AS (
        -- People inside since before midnight, or missed at entry, must not push it below zero.
        SELECT branch_id, minute, so_far - least(0, min(so_far) OVER today) AS people
        FROM flow WINDOW today AS (PARTITION BY branch_id, day ORDER BY minute)
    ), occupancy AS (
        SELECT branch_id, date_trunc('hour', minute, 'UTC') AS hour, max(people)::bigint AS peak
        FROM inside GROUP BY 1, 2
    )
    SELECT c.branch_id, c.hour, c.hour AT TIME ZONE b.timezone, f.visitors, m.orders, m.in_store,
        m.in_store_net,
        CASE WHEN w.reason IS NULL THEN m.in_store::double precision / f.visitors END,
        CASE WHEN w.reason IS NULL THEN m.in_store_net::double precision / f.visitors END,
        w.reason, b.currency, m.revenue, m.net_revenue, m.revenue_in_store,
        CASE WHEN w.reason IS NULL
            THEN round(m.revenue_in_store / f.visitors, currency_places(b.currency)) END,
        m.other_currency, v.coverage, coalesce(q.waits, 0), q.p50, q.p95, o.peak,
        coalesce(m.is_final, false), m.corrected_at, coalesce(m.change_id, 0),
        coalesce(f.change_id, 0), coalesce(greatest(q.change_id, e.change_id), 0), now(),
        f.passers_by, f.groups,
        CASE WHEN v.coverage >= p_trusted_coverage
            THEN f.visitors::double precision / nullif(f.visitors + f.passers_by, 0) END,
        CASE WHEN w.reason IS NULL AND m.in_store <= f.groups
            THEN m.in_store::double precision / nullif(f.groups, 0) END
    FROM changed c
    JOIN branch b USING (branch_id)
    LEFT JOIN LATERAL (
        SELECT coalesce(sum(order_count), 0)::bigint AS orders,
            coalesce(sum(in_store_count), 0)::bigint AS in_store,
            coalesce(sum(in_store_count - in_store_cancelled_count), 0)::bigint AS in_store_net,
            coalesce(sum(total_revenue) FILTER (WHERE x.currency = b.currency), 0) AS revenue,
            coalesce(sum(net_revenue) FILTER (WHERE x.currency = b.currency), 0) AS net_revenue,
            coalesce(sum(in_store_revenue) FILTER (WHERE x.currency = b.currency), 0)
                AS revenue_in_store,
            coalesce(sum(order_count) FILTER (WHERE x.currency <> b.currency), 0)::bigint
                AS other_currency,
            bool_and(is_final) AS is_final, max(corrected_at) AS corrected_at,
            max(change_id) AS change_id
        FROM order_metrics x
        WHERE x.metric_date = (c.hour AT TIME ZONE 'UTC')::date AND x.hour = c.hour
            AND x.branch_id = c.branch_id
    ) m ON true
    LEFT JOIN LATERAL (
        SELECT sum(entries) FILTER (WHERE camera_id = ANY (b.entrances))::bigint AS visitors,
            sum(passers_by) FILTER (WHERE camera_id = ANY (b.passing))::bigint AS passers_by,
            sum(groups) FILTER (WHERE camera_id = ANY (b.entrances))::bigint AS groups,
            count(*) AS camera_minutes, max(change_id) AS change_id
        FROM footfall_minute x
        WHERE x.branch_id = c.branch_id AND x.minute >= c.hour
            AND x.minute < c.hour + interval '1 hour'
    ) f ON true
    LEFT JOIN LATERAL (
        SELECT count(*) FILTER (WHERE NOT is_staff AND NOT withdrawn) AS waits,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY dwell_seconds)
                FILTER (WHERE NOT is_staff AND NOT withdrawn) AS p50,
            percentile_cont(0.95) WITHIN GROUP (ORDER BY dwell_seconds)
                FILTER (WHERE NOT is_staff AND NOT withdrawn) AS p95,
            max(change_id) AS change_id
        FROM zone_visits v
        WHERE v.kind = 'queue' AND NOT v.is_open AND v.branch_id = c.branch_id
            AND v.exited_at >= c.hour AND v.exited_at < c.hour + interval '1 hour'
    ) q ON true
    LEFT JOIN ended e ON e.branch_id = c.branch_id AND e.hour = c.hour
    LEFT JOIN occupancy o ON o.branch_id = c.branch_id AND o.hour = c.hour
    CROSS JOIN LATERAL (
        SELECT coalesce(f.camera_minutes, 0)::double precision / nullif(b.cameras * 60, 0)
            AS coverage
    ) v
    CROSS JOIN LATERAL (
        SELECT CASE WHEN f.visitors IS NULL THEN 'no visitors counted'
            WHEN v.coverage < p_trusted_coverage THEN 'coverage below ' || p_trusted_coverage
            WHEN m.in_store > f.visitors THEN 'above 100 %'
            WHEN f.visitors = 0 THEN 'no visitors counted' END AS reason
    ) w
    ON CONFLICT (branch_id, hour) DO UPDATE SET
        local_hour = EXCLUDED.local_hour,
        visitors = EXCLUDED.visitors,
        orders = EXCLUDED.orders,
        orders_in_store = EXCLUDED.orders_in_store,
        orders_in_store_net = EXCLUDED.orders_in_store_net,
        conversion_rate = EXCLUDED.conversion_rate,
        conversion_rate_net = EXCLUDED.conversion_rate_net,
        conversion_withheld = EXCLUDED.conversion_withheld,
        currency = EXCLUDED.currency,
        revenue = EXCLUDED.revenue,
        net_revenue = EXCLUDED.net_revenue,
        revenue_in_store = EXCLUDED.revenue_in_store,
        revenue_per_visitor = EXCLUDED.revenue_per_visitor,
        orders_other_currency = EXCLUDED.orders_other_currency,
        camera_coverage = EXCLUDED.camera_coverage,
        -- Retention deletes old visits, of an hour not all at once; their counts are kept.
        queue_waits = CASE WHEN EXCLUDED.visits_change_id > s.visits_change_id
            THEN EXCLUDED.queue_waits ELSE s.queue_waits END,
        queue_wait_p50 = CASE WHEN EXCLUDED.visits_change_id > s.visits_change_id
            THEN EXCLUDED.queue_wait_p50 ELSE s.queue_wait_p50 END,
        queue_wait_p95 = CASE WHEN EXCLUDED.visits_change_id > s.visits_change_id
            THEN EXCLUDED.queue_wait_p95 ELSE s.queue_wait_p95 END,
        occupancy_peak = EXCLUDED.occupancy_peak,
        passers_by = EXCLUDED.passers_by,
        groups = EXCLUDED.groups,
        capture_rate = EXCLUDED.capture_rate,
        conversion_by_groups = EXCLUDED.conversion_by_groups,
        is_final = EXCLUDED.is_final,
        corrected_at = EXCLUDED.corrected_at,
        orders_change_id = EXCLUDED.orders_change_id,
        footfall_change_id = EXCLUDED.footfall_change_id,
        visits_change_id = greatest(s.visits_change_id, EXCLUDED.visits_change_id),
        updated_at = EXCLUDED.updated_at,
        change_id = nextval('changes')
    WHERE (s.orders_change_id, s.footfall_change_id, s.visits_change_id, s.occupancy_peak)
        IS DISTINCT FROM (EXCLUDED.orders_change_id, EXCLUDED.footfall_change_id,
            EXCLUDED.visits_change_id, EXCLUDED.occupancy_peak)
$$;
