"""Sums of the serving database, each against what it is made of.

Streams commit one after the other, so a sum is compared only where its position is known: within
one transaction, by the change ids that it names, or for orders that both streams have passed
(docs/adr/0016). With `replicas` this reaches from the accepted order to gold in the lake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from great_expectations.expectations.core import ExpectColumnPairValuesAToBeGreaterThanB

from quality.context import AuditContext
from quality.facts import BRANCH_HOURS, HOURLY, UTC_TIME, look_from, sides
from quality.suite import FactSuite, Suite, equal, expect, null
from quality.suites import sums_sql
from streaming.lake.tables import (
    GOLD_ORDER_HOURLY,
    GOLD_PAYMENTS_HOURLY,
    GOLD_PRODUCT_DAILY,
    GOLD_STORE_HOURLY,
    SILVER_ORDERS,
)
from streaming.registry import NAMES

LEDGER_BATCHES = 1_000
"""Of each stream so many of the newest batches are looked at."""

Row = Mapping[str, Any]
ITEMS = {
    "branch_id": pa.string(),
    "hour": UTC_TIME,
    **dict.fromkeys(("orders", "whole"), pa.int64()),
    "example": pa.string(),
}
LEDGER = {
    "stream": pa.string(),
    **dict.fromkeys(("batch_id", "rows_in", "rows_new"), pa.int64()),
}

# An order counts where both streams have passed the newest body that either has.
ORDERS_SQL = """
    WITH known AS (
        SELECT order_id FROM orders_processed WHERE created_at >= %(start)s
        UNION SELECT order_id FROM order_contributions WHERE hour >= %(start)s
    ), bodies AS (
        SELECT k.order_id, o.branch_id, o.created_at, o.body_version AS processed, p.body_version
            AS itemised, greatest(o.body_version, p.body_version) AS newest, o.item_count,
            o.subtotal, c.branch_id AS counted_branch, c.hour AS counted_hour
        FROM known k LEFT JOIN orders_processed o USING (order_id)
        LEFT JOIN product_orders p USING (order_id) LEFT JOIN order_contributions c USING (order_id)
    ), passed AS (
        SELECT b.* FROM bodies b WHERE b.newest IS NOT NULL AND 2 = (
            SELECT count(*) FROM stream_offsets f
            WHERE f.stream IN ('order_event_processor', 'product_analytics')
                AND f.topic = regexp_replace(split_part(b.newest, '|', 2), '^~.', '')
                AND f.partition = split_part(b.newest, '|', 3)::integer
                AND f.position >= split_part(b.newest, '|', 4) COLLATE "C")
    )
    SELECT coalesce(p.branch_id, p.counted_branch) AS branch_id,
        coalesce(date_trunc('hour', p.created_at, 'UTC'), p.counted_hour) AS hour,
        count(*) AS orders, count(*) FILTER (WHERE p.good) AS whole,
        min(p.order_id) FILTER (WHERE NOT p.good) AS example
    FROM (
        SELECT p.*, coalesce(p.processed = p.itemised AND p.item_count = i.lines
            AND abs(p.subtotal - i.total) < 0.0001 * (i.lines + 1), false) AS good
        FROM passed p LEFT JOIN LATERAL (
            SELECT count(*) AS lines, sum(quantity * unit_price) AS total
            FROM order_items i WHERE i.order_id = p.order_id
        ) i ON true
    ) p GROUP BY 1, 2 ORDER BY 1, 2"""

LEDGER_SQL = """
    SELECT q.stream, b.batch_id, b.rows_in, b.rows_new
    FROM unnest(%(streams)s::text[]) AS q (stream) CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT * FROM stream_batches n WHERE n.query_id = q.stream
            ORDER BY n.batch_id DESC LIMIT %(batches)s
        ) newest ORDER BY rows_in - rows_new LIMIT 1
    ) b ORDER BY 1"""


def sum_suites() -> list[Suite]:
    """All suites of this module."""
    items = equal(
        "has_items",
        "Orders and their items do not belong together: an order without its lines, with others, "
        "or lines without their order.",
        "orders",
        "whole",
        "item_count and subtotal are those of the order's rows in order_items",
        unit="orders",
    )
    batches = expect(
        "rows_in_at_least_new",
        "A batch has written more rows than it was given.",
        ExpectColumnPairValuesAToBeGreaterThanB,
        expected="rows_new is at most rows_in",
        column_A="rows_in",
        column_B="rows_new",
        or_equal=True,
    )
    return [
        _hourly(
            "order_metrics",
            load_metrics,
            "equals_orders",
            "Counts or sums of an hour are not those of the orders in it: by status, by payment, "
            "in money.",
        ),
        _hourly(
            "store_hourly",
            load_store,
            "equals_sides",
            "Orders, revenue or visitors of an hour differ from order_metrics and footfall_minute.",
        ),
        _hourly(
            "order_items_analytics",
            load_products,
            "equals_orders",
            "Counts or sums of a product and day are not those of the lines of its orders.",
        ),
        _hourly(
            "payments_hourly",
            load_payments,
            "equals_orders",
            "Payments of an hour by a method are not those of the orders in it.",
        ),
        FactSuite("postgres.orders_processed", "items", ITEMS, load_orders, (items,), BRANCH_HOURS),
        FactSuite("postgres.stream_batches", "ledger", LEDGER, load_ledger, (batches,), "streams"),
    ]


def _hourly(table: str, rows: Any, name: str, meaning: str) -> FactSuite:
    equals = null(
        name, meaning, "differs", f"{table} has the sums of the tables that it is made of"
    )
    return FactSuite(f"postgres.{table}", "sums", HOURLY, rows, (equals,), BRANCH_HOURS)


def _named(row: Row, differs: str | None) -> Row:
    return {"branch_id": row["branch_id"], "hour": row["hour"], "differs": differs}


def load_metrics(context: AuditContext) -> Iterator[Row]:
    """Per branch and hour: differences between order_metrics and the orders that it counts."""
    rows = context.query(sums_sql.METRICS_SQL, {"start": look_from(context, GOLD_ORDER_HOURLY)})
    return (_named(row, sides(row, sums_sql.METRICS)) for row in rows)


def load_payments(context: AuditContext) -> Iterator[Row]:
    """Per branch, hour and method: payments_hourly against the orders that were paid."""
    rows = context.query(sums_sql.PAYMENTS_SQL, {"start": look_from(context, GOLD_PAYMENTS_HOURLY)})
    return (_named(row, sides(row, sums_sql.PAYMENTS)) for row in rows)


def load_store(context: AuditContext) -> Iterator[Row]:
    """Per branch and hour: differences between store_hourly and both of its sides."""
    stores = context.stores
    cameras = (c for b in stores.branches for c in b.cameras)
    entrances = [c.camera_id for c in cameras if stores.has_line(c, "entrance")]
    start = look_from(context, GOLD_STORE_HOURLY)
    rows = context.query(sums_sql.STORE_SQL, {"start": start, "entrances": entrances})
    return (_named(row, sides(row, sums_sql.STORE)) for row in rows)


def load_products(context: AuditContext) -> Iterator[Row]:
    """Per branch, UTC day and product: order_items_analytics against the lines of its orders."""
    rows = context.query(sums_sql.PRODUCTS_SQL, {"start": look_from(context, GOLD_PRODUCT_DAILY)})
    return (_named(row, sides(row, sums_sql.PRODUCTS)) for row in rows)


def load_orders(context: AuditContext) -> list[dict[str, Any]]:
    """Per branch and hour: orders, and how many of them have as many lines as they declare."""
    return context.query(ORDERS_SQL, {"start": look_from(context, SILVER_ORDERS)})


def load_ledger(context: AuditContext) -> list[dict[str, Any]]:
    """Of each stream the batch that has the fewest rows to spare."""
    return context.query(LEDGER_SQL, {"streams": list(NAMES), "batches": LEDGER_BATCHES})
