"""Writes accepted order events to orders_raw and orders_processed, in sets.

The newest version wins (`order_version`). Body and status have separate versions: a status change
has no body, and an order event that arrives after a newer status change must not undo it.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pyarrow as pa

from streaming.sinks.postgres import stage
from streaming.transforms.order_columns import ORDER_COLUMNS, SQL_TYPES

STAGE = {
    **{column.name: SQL_TYPES[column.type][1] for column in ORDER_COLUMNS if column.staged},
    "items_json": "jsonb",
    "payload": "jsonb",
}
"""Column of the staging table -> its type."""

_RAW_SQL = """
    INSERT INTO orders_raw (event_id, order_id, event_type, event_time, branch_id, payload, topic,
        partition, position, received_at)
    SELECT event_id, order_id, event_type, event_time, branch_id, payload, topic, partition,
        position, "timestamp"
    FROM pg_temp.order_events ORDER BY event_time, topic, partition, position
    ON CONFLICT DO NOTHING"""

_BODY = (*(column.name for column in ORDER_COLUMNS if column.body and column.staged), "items")


def _processed_sql() -> str:
    body = ", ".join(_BODY)
    newest_body = ", ".join(
        f"{c} = CASE WHEN EXCLUDED.body_version > coalesce(t.body_version, '') "
        f"THEN EXCLUDED.{c} ELSE t.{c} END"
        for c in _BODY
    )
    # S608: built from the constants above only.
    return f"""
    INSERT INTO orders_processed AS t (order_id, branch_id, status, first_event_at, last_event_at,
        status_version, body_version, {body})
    SELECT s.order_id, s.branch_id, s.status, e.first_event_at, e.last_event_at, s.version,
        b.version, {", ".join(f"b.{c}" for c in _BODY)}
    FROM (SELECT DISTINCT ON (order_id) order_id, branch_id, status, version
          FROM pg_temp.order_events ORDER BY order_id, version COLLATE "C" DESC) s
    JOIN (SELECT order_id, min(event_time) AS first_event_at, max(event_time) AS last_event_at
          FROM pg_temp.order_events GROUP BY order_id) e USING (order_id)
    LEFT JOIN (SELECT DISTINCT ON (order_id) *, items_json AS items
          FROM pg_temp.order_events WHERE created_at IS NOT NULL
          ORDER BY order_id, version COLLATE "C" DESC) b USING (order_id)
    ON CONFLICT (order_id) DO UPDATE SET
        {newest_body},
        body_version = greatest(EXCLUDED.body_version, t.body_version),
        branch_id = CASE WHEN EXCLUDED.status_version > t.status_version
            THEN EXCLUDED.branch_id ELSE t.branch_id END,
        status = CASE WHEN EXCLUDED.status_version > t.status_version
            THEN EXCLUDED.status ELSE t.status END,
        status_version = greatest(EXCLUDED.status_version, t.status_version),
        first_event_at = least(EXCLUDED.first_event_at, t.first_event_at),
        last_event_at = greatest(EXCLUDED.last_event_at, t.last_event_at),
        updated_at = now()"""  # noqa: S608


_PROCESSED_SQL = _processed_sql()


def write_orders(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    """Stage good rows of `SILVER_SCHEMA`, insert the new events, upsert their orders."""
    if not rows.num_rows:
        return
    payload = rows["value"].cast(pa.string())
    stage(connection, "order_events", STAGE, rows.append_column("payload", payload))
    connection.execute(_RAW_SQL)
    connection.execute(_PROCESSED_SQL)
