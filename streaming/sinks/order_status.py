"""Writes rows of the order status history to Postgres, by key."""

from __future__ import annotations

from typing import Any

import psycopg
import pyarrow as pa

from streaming.sinks.postgres import stage

STAGE = {
    **dict.fromkeys(("event_id", "order_id", "branch_id", "old_status", "new_status"), "text"),
    **dict.fromkeys(("changed_at", "previous_changed_at", "session_at"), "timestamptz"),
    **dict.fromkeys(("previous_status", "anomaly"), "text"),
    "overtaken": "boolean",
    "version": 'text COLLATE "C"',
}

_UPSERT_SQL = """
    INSERT INTO order_status_history AS h (event_id, order_id, branch_id, old_status, new_status,
        changed_at, previous_status, previous_changed_at, processing_time_seconds, session_id,
        anomaly, overtaken, version)
    SELECT DISTINCT ON (r.event_id) r.event_id, r.order_id, r.branch_id, r.old_status,
        r.new_status, r.changed_at, r.previous_status, r.previous_changed_at,
        extract(epoch FROM r.changed_at - r.previous_changed_at), r.order_id || '@' || to_char(
            r.session_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        r.anomaly, r.overtaken, r.version
    FROM pg_temp.status_rows r
    WHERE r.session_at IS NOT NULL
        -- An old event of an order whose state was deleted: its newer changes are here.
        OR r.anomaly = 'stuck' AND NOT EXISTS (SELECT FROM order_status_history n
            WHERE n.order_id = r.order_id AND n.version > r.version AND n.changed_at < r.changed_at)
        OR r.anomaly = 'stuck_withdrawn' AND EXISTS (
            SELECT FROM order_status_history k WHERE k.event_id = r.event_id)
    ORDER BY r.event_id, r.version
    ON CONFLICT (event_id) DO UPDATE SET (changed_at, previous_status, previous_changed_at,
            processing_time_seconds, session_id, anomaly, version, change_id) = (
        EXCLUDED.changed_at, EXCLUDED.previous_status, EXCLUDED.previous_changed_at,
        EXCLUDED.processing_time_seconds, EXCLUDED.session_id, EXCLUDED.anomaly, EXCLUDED.version,
        nextval('changes'))
    WHERE h.order_id = EXCLUDED.order_id
        AND (h.changed_at, h.previous_status, h.previous_changed_at, h.session_id, h.anomaly,
            h.version) IS DISTINCT FROM (EXCLUDED.changed_at, EXCLUDED.previous_status,
            EXCLUDED.previous_changed_at, EXCLUDED.session_id, EXCLUDED.anomaly, EXCLUDED.version)
    """


def write_history(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    """Upsert rows of `STATUS_SCHEMA` that have an event_id: absolute values, key event_id."""
    history = rows.filter(rows["event_id"].is_valid())
    if history.num_rows:
        stage(connection, "status_rows", STAGE, history)
        connection.execute(_UPSERT_SQL)
