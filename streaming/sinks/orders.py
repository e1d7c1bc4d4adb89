"""Writes accepted order events to orders_raw and orders_processed, in sets.

The newest version wins (`order_version`). Body and status have separate versions: a status change
has no body, and an order event that arrives after a newer status change must not undo it. Of the
sale (branch, region, time) the oldest version with a body wins.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pyarrow as pa

from streaming.progress import spans
from streaming.sinks.postgres import stage
from streaming.transforms.newest_orders import BODY, SALE, newest_orders
from streaming.transforms.newest_orders import READ as ORDER_READ
from streaming.transforms.order_columns import DECIMAL, ORDER_COLUMNS, SQL_TYPES

EVENTS = {
    **dict.fromkeys(("event_id", "order_id", "event_type"), "text"),
    "event_time": "timestamptz",
    "branch_id": "text",
    "payload": "jsonb",
    "topic": "text",
    "partition": "integer",
    "position": "text",
    "timestamp": "timestamptz",
    "created_at": "timestamptz",
    "version": 'text COLLATE "C"',
}
"""Column of the staging table of events -> its type."""

_AMOUNTS = (*(c.name for c in ORDER_COLUMNS if c.name in BODY and c.type == DECIMAL), "subtotal")
_BODY = {
    **{c.name: SQL_TYPES[c.type][1] for c in ORDER_COLUMNS if c.name in BODY},
    **dict.fromkeys(("items", "payments"), "jsonb"),
    **dict.fromkeys(_AMOUNTS, "text"),
}
_ORDERS = {
    **dict.fromkeys(("order_id", "branch_id", "status", "status_branch_id"), "text"),
    **dict.fromkeys(("status_version", "body_version", "sale_version"), 'text COLLATE "C"'),
    **dict.fromkeys(("first_event_at", "last_event_at"), "timestamptz"),
    **_BODY,
}
"""Column of `orders_processed` -> its type in the staging table."""

ORDERS = {**_ORDERS, "sale_branch_id": "text"}
"""Column of the staging table of orders -> its type."""

READ = tuple(dict.fromkeys(("value", *(c for c in EVENTS if c != "payload"), *ORDER_READ)))
"""Columns of `SILVER_SCHEMA` that `stage_orders` reads."""

_RAW_SQL = """
    INSERT INTO orders_raw (event_id, order_id, event_type, event_time, branch_id, payload, topic,
        partition, position, received_at)
    SELECT event_id, order_id, event_type, event_time, branch_id, payload, topic, partition,
        position, "timestamp"
    FROM pg_temp.order_events
    ON CONFLICT (event_id) DO NOTHING"""


def _processed_sql() -> str:
    names = {column: column for column in _ORDERS} | {"fulfilment_branch_id": "stated_fulfilment"}
    columns = ", ".join(names.values())
    staged = ", ".join(f"{c}::numeric" if c in _AMOUNTS else c for c in _ORDERS)
    is_newer = "EXCLUDED.body_version > coalesce(t.body_version, '')"
    is_sale = "EXCLUDED.sale_version < coalesce(t.sale_version, t.body_version, '~')"
    body = ", ".join(
        f"{names[c]} = CASE WHEN {is_sale if c in SALE else is_newer} "
        f"THEN EXCLUDED.{names[c]} ELSE t.{names[c]} END"
        for c in _BODY
    )
    # S608: built from the constants above only.
    return f"""
    INSERT INTO orders_processed AS t ({columns}) SELECT {staged} FROM pg_temp.newest_orders
    ON CONFLICT (order_id) DO UPDATE SET
        {body},
        body_version = greatest(EXCLUDED.body_version, t.body_version),
        sale_version = least(EXCLUDED.sale_version, coalesce(t.sale_version, t.body_version)),
        branch_id = CASE WHEN {is_sale} OR t.body_version IS NULL
            AND EXCLUDED.status_version > t.status_version THEN EXCLUDED.branch_id
            ELSE t.branch_id END,
        status_branch_id = CASE WHEN EXCLUDED.status_version > t.status_version
            THEN EXCLUDED.status_branch_id ELSE t.status_branch_id END,
        status = CASE WHEN EXCLUDED.status_version > t.status_version
            THEN EXCLUDED.status ELSE t.status END,
        status_version = greatest(EXCLUDED.status_version, t.status_version),
        first_event_at = least(EXCLUDED.first_event_at, t.first_event_at),
        last_event_at = greatest(EXCLUDED.last_event_at, t.last_event_at),
        updated_at = now()"""  # noqa: S608


_PROCESSED_SQL = _processed_sql()


KEEP_STAGED = "-c storelake.staged_orders=none"
"""Option of a session that keeps staged rows. The setting names them, and rolls back with them."""
_KEPT_SQL = "SELECT current_setting('storelake.staged_orders', true)"
_KEEP_SQL = "SELECT set_config('storelake.staged_orders', %s, false)"


def stage_orders(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    """Stage events and their orders for the functions of all streams.

    A session with `KEEP_STAGED` keeps them beyond the transaction: of the streams of a task, which
    write the same rows by one connection, the first one stages them.

    Temporary tables: order_events, sorted by event_id; newest_orders, sorted by order_id. So
    transactions that write the same keys lock them in the same order.

    Args:
        connection: in a transaction.
        rows: good rows of `SILVER_SCHEMA`.
    """
    rows_id = json.dumps([rows.num_rows, *sorted(map(str, spans(rows).items()))])
    (kept,) = connection.execute(_KEPT_SQL).fetchone() or (None,)
    if kept == rows_id:
        return
    keep = bool(kept)
    events = rows.append_column("payload", rows["value"].cast(pa.string()))
    stage(connection, "order_events", EVENTS, events.sort_by("event_id"), keep=keep)
    stage(connection, "newest_orders", ORDERS, newest_orders(rows), keep=keep)
    if keep:
        connection.execute(_KEEP_SQL, (rows_id,))


def write_orders(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    """Insert the new events, upsert their orders.

    Transactions that write events of the same orders at once leave the result of one after the
    other, and do not deadlock.

    Args:
        connection: in a transaction.
        rows: good rows of `SILVER_SCHEMA`.
    """
    if rows.num_rows:
        stage_orders(connection, rows)
        connection.execute(_RAW_SQL)
        connection.execute(_PROCESSED_SQL)
