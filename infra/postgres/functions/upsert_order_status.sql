-- Applies one batch of order events to the status history and fires the timers that are due. Each
-- row is computed from all changes of its order in event time, so it does not depend on when each
-- arrived; only `overtaken` does.
-- Arguments: p_clock, the stream's watermark, so that a replay fires the same timers as the first
-- run; p_stuck_after, how long an order may be pending or processing before the alarm;
-- p_session_gap, the pause that begins another session; p_keep_terminal and p_keep_stuck, how long
-- the state of an ended or stuck order is kept.
-- Reads: pg_temp.status_events (event_id, event_type, event_time, order_id, branch_id, old_status,
-- status, created_at, version, topic, partition, position), one row per accepted order event.
-- Writes: order_status_history, key event_id; order_status_state, key order_id.
-- Returns: nothing.
CREATE OR REPLACE FUNCTION upsert_order_status(p_clock timestamptz, p_stuck_after interval,
    p_session_gap interval, p_keep_terminal interval, p_keep_stuck interval)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- 1. Changes, each once.
    INSERT INTO order_status_history (event_id, order_id, branch_id, old_status, new_status,
        changed_at, overtaken, version)
    SELECT e.event_id, e.order_id, e.branch_id, e.old_status, e.status, e.event_time,
        coalesce(e.version < greatest(e.newest_in_batch, (
            SELECT max(h.version) FROM order_status_history h WHERE h.order_id = e.order_id
        )), false), e.version
    FROM (
        SELECT v.*, max(v.version) OVER (PARTITION BY v.order_id
            ORDER BY v.topic, v.partition, v.position
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newest_in_batch
        FROM pg_temp.status_events v WHERE v.event_type = 'order.status_changed'
    ) e
    ORDER BY e.version
    ON CONFLICT (event_id) DO NOTHING;

    -- 2. State: the newest status of each order, and its first. An order.updated event carries the
    -- current status, which may have begun earlier.
    INSERT INTO order_status_state AS s (order_id, branch_id, status, since, version, event_id,
        first_status, first_since, due_at)
    SELECT n.order_id, n.branch_id, n.status, coalesce(n.created_at, n.event_time), n.version,
        n.event_id, b.status, b.created_at, 'infinity'
    FROM (
        SELECT DISTINCT ON (v.order_id) v.order_id, v.branch_id, v.status, v.event_time, v.version,
            v.event_id, CASE WHEN v.event_type = 'order.created' THEN v.created_at END AS created_at
        FROM pg_temp.status_events v WHERE v.event_type <> 'order.updated'
        ORDER BY v.order_id, v.version DESC
    ) n LEFT JOIN (
        SELECT DISTINCT ON (v.order_id) v.order_id, v.status, v.created_at
        FROM pg_temp.status_events v WHERE v.event_type = 'order.created'
        ORDER BY v.order_id, v.version
    ) b USING (order_id)
    -- An order whose state has expired is not opened again by its older events.
    WHERE NOT EXISTS (SELECT FROM order_status_history h
        WHERE h.order_id = n.order_id AND h.version > n.version)
        OR EXISTS (SELECT FROM order_status_state o WHERE o.order_id = n.order_id)
    ON CONFLICT (order_id) DO UPDATE SET
        (status, since, version, event_id) = (
            SELECT x.status, x.since, x.version, x.event_id
            FROM (VALUES (EXCLUDED.status, EXCLUDED.since, EXCLUDED.version, EXCLUDED.event_id),
                (s.status, s.since, s.version, s.event_id)) AS x (status, since, version, event_id)
            ORDER BY x.version COLLATE "C" DESC LIMIT 1),
        first_status = coalesce(s.first_status, EXCLUDED.first_status),
        first_since = coalesce(s.first_since, EXCLUDED.first_since);

    -- 3. What each change means, among all changes of its order.
    WITH known AS (
        SELECT c.event_id, c.order_id, c.old_status, c.new_status, c.changed_at, c.version,
            c.overtaken, s.first_since,
            c.changed_at - lag(c.changed_at) OVER o AS gap,
            coalesce(lag(c.new_status) OVER o, s.first_status, c.previous_status) AS before,
            c.previous_changed_at AS claimed_since
        FROM order_status_history c LEFT JOIN order_status_state s USING (order_id)
        WHERE c.order_id IN (SELECT v.order_id FROM pg_temp.status_events v)
            AND (c.anomaly IS NULL OR c.anomaly NOT LIKE 'stuck%')
        WINDOW o AS (PARTITION BY c.order_id ORDER BY c.version)
    ), classified AS (
        SELECT k.*,
            -- A status lasts from its first change; a repeated change does not restart it.
            coalesce(max(k.changed_at) FILTER (WHERE k.new_status IS DISTINCT FROM k.before) OVER (
                    PARTITION BY k.order_id ORDER BY k.version
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
                CASE WHEN coalesce(k.first_since, k.claimed_since) <= k.changed_at
                    THEN coalesce(k.first_since, k.claimed_since) END) AS before_since,
            count(*) FILTER (WHERE k.gap IS NULL OR k.gap >= p_session_gap)
                OVER (PARTITION BY k.order_id ORDER BY k.version) AS session,
            CASE WHEN k.new_status = k.before THEN 'duplicate'
                WHEN k.overtaken THEN 'out_of_order'
                WHEN k.old_status <> k.before OR (k.old_status, k.new_status) NOT IN (
                    ('pending', 'processing'), ('pending', 'completed'), ('pending', 'cancelled'),
                    ('processing', 'completed'), ('processing', 'cancelled'))
                THEN 'illegal_transition' END AS anomaly
        FROM known k
    ), named AS (
        SELECT t.*, t.order_id || '@' || to_char(first_value(t.changed_at) OVER (
                PARTITION BY t.order_id, t.session ORDER BY t.version) AT TIME ZONE 'UTC',
            'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS session_id
        FROM classified t
    )
    UPDATE order_status_history h SET
        previous_status = n.before,
        previous_changed_at = n.before_since,
        processing_time_seconds = extract(epoch FROM n.changed_at - n.before_since),
        session_id = n.session_id,
        anomaly = n.anomaly,
        change_id = nextval('changes')
    FROM named n
    WHERE h.event_id = n.event_id
        AND (h.previous_status, h.previous_changed_at, h.session_id, h.anomaly)
            IS DISTINCT FROM (n.before, n.before_since, n.session_id, n.anomaly);

    -- 4. When the status began, and when its timer is due.
    UPDATE order_status_state s SET since = coalesce(h.changed_at, s.first_since, s.since)
    FROM order_status_state x LEFT JOIN LATERAL (
        SELECT c.changed_at FROM order_status_history c
        WHERE c.order_id = x.order_id
            AND (c.anomaly IS NULL OR c.anomaly IN ('out_of_order', 'illegal_transition'))
        ORDER BY c.version DESC LIMIT 1
    ) h ON true
    WHERE s.order_id = x.order_id AND s.status IN ('pending', 'processing')
        AND s.order_id IN (SELECT v.order_id FROM pg_temp.status_events v);

    UPDATE order_status_state s SET due_at = s.since
        + CASE WHEN s.status IN ('completed', 'cancelled') THEN p_keep_terminal
            ELSE p_stuck_after END
    WHERE s.order_id IN (SELECT v.order_id FROM pg_temp.status_events v);

    -- 5. A change made before an alarm that arrives after it withdraws the alarm.
    UPDATE order_status_history a SET anomaly = 'stuck_withdrawn', change_id = nextval('changes')
    FROM pg_temp.status_events v
    WHERE a.order_id = v.order_id AND a.anomaly = 'stuck' AND v.event_type <> 'order.updated'
        AND v.version > a.version AND v.event_time < a.changed_at;

    -- 6. Timers: delete the state of ended and long stuck orders; raise the alarm for others.
    DELETE FROM order_status_state s
    WHERE s.due_at <= p_clock AND (s.status IN ('completed', 'cancelled')
        OR s.due_at >= s.since + p_stuck_after + p_keep_stuck);

    WITH fired AS (
        UPDATE order_status_state s SET due_at = s.since + p_stuck_after + p_keep_stuck
        WHERE s.due_at <= p_clock
        RETURNING s.*
    )
    INSERT INTO order_status_history (event_id, order_id, branch_id, old_status, new_status,
        changed_at, previous_status, previous_changed_at, processing_time_seconds, anomaly, version)
    SELECT f.event_id || '/stuck', f.order_id, f.branch_id, f.status, f.status,
        f.since + p_stuck_after, f.status, f.since, extract(epoch FROM p_stuck_after), 'stuck',
        f.version
    FROM fired f
    ON CONFLICT (event_id) DO NOTHING;
END $$;
