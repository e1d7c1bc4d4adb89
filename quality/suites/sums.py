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

from conf.contracts.order_event import STATUSES
from quality.context import AuditContext
from quality.facts import HOURLY, UTC_TIME, both_sides, look_from, sides
from quality.suite import FactSuite, Suite, equal, expect, null
from streaming.lake.tables import (
    GOLD_ORDER_HOURLY,
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

_METRICS = (
    *("order_count", "total_revenue", "net_revenue"),
    *(f"{status}_count" for status in STATUSES),
    *("cash_count", "online_count"),
)
_STATUS_COUNTS = ", ".join(
    f"count(*) FILTER (WHERE status = '{status}') AS {status}_count" for status in STATUSES
)
# S608, here and below: built from constants of this repository only.
METRICS_SQL = f"""
    WITH counted AS (
        SELECT branch_id, hour, count(*) AS order_count, sum(total_price) AS total_revenue,
            sum(total_price) FILTER (WHERE status <> 'cancelled') AS net_revenue, {_STATUS_COUNTS},
            count(*) FILTER (WHERE payment_method = 'cash') AS cash_count,
            count(*) FILTER (WHERE payment_method = 'online') AS online_count
        FROM order_contributions WHERE hour >= %(start)s GROUP BY 1, 2
    )
    SELECT branch_id, hour, {both_sides("m", "c", _METRICS)}
    FROM (SELECT * FROM order_metrics WHERE hour >= %(start)s) m
    FULL JOIN counted c USING (branch_id, hour)
    ORDER BY branch_id, hour"""  # noqa: S608

_STORE = ("orders", "revenue", "net_revenue", "visitors")
# An hour counts where store_hourly names the newest change on each side; others follow later.
STORE_SQL = """
    SELECT s.branch_id, s.hour, s.orders AS stored_orders, s.revenue AS stored_revenue,
        s.net_revenue AS stored_net_revenue, coalesce(s.visitors, 0) AS stored_visitors,
        coalesce(m.order_count, 0) AS computed_orders,
        coalesce(m.total_revenue, 0) AS computed_revenue,
        coalesce(m.net_revenue, 0) AS computed_net_revenue,
        coalesce(f.entries, 0) AS computed_visitors
    FROM store_hourly s
    LEFT JOIN order_metrics m ON m.branch_id = s.branch_id AND m.hour = s.hour
        AND m.metric_date = (s.hour AT TIME ZONE 'UTC')::date
    LEFT JOIN LATERAL (
        SELECT sum(entries) FILTER (WHERE camera_id = ANY (%(entrances)s))::bigint AS entries,
            max(change_id) AS change_id
        FROM footfall_minute x
        WHERE x.branch_id = s.branch_id AND x.minute >= s.hour
            AND x.minute < s.hour + interval '1 hour'
    ) f ON true
    WHERE s.hour >= %(start)s AND s.orders_change_id = coalesce(m.change_id, 0)
        AND s.footfall_change_id = coalesce(f.change_id, 0)
    ORDER BY s.branch_id, s.hour"""

# Orders whose newest body order_metrics has set aside as late are taken from both sides. The
# positions are read in the same snapshot as the sums.
PRODUCTS_SQL = """
    WITH same AS (
        SELECT count(*) FILTER (WHERE a.position IS DISTINCT FROM b.position) = 0 AS place
        FROM (SELECT * FROM stream_offsets WHERE stream = 'product_analytics') a
        FULL JOIN (SELECT * FROM stream_offsets WHERE stream = 'real_time_metrics') b
            USING (topic, partition)
    ), sold AS (
        SELECT branch_id, day, sum(revenue) AS revenue FROM order_items_analytics
        WHERE day >= (%(start)s AT TIME ZONE 'UTC')::date GROUP BY 1, 2
    ), counted AS (
        SELECT branch_id, metric_date AS day, sum(total_revenue) AS revenue,
            sum(order_count) AS orders
        FROM order_metrics WHERE metric_date >= (%(start)s AT TIME ZONE 'UTC')::date GROUP BY 1, 2
    ), days AS (
        SELECT branch_id, day, coalesce(s.revenue, 0) AS sold, coalesce(c.revenue, 0) AS counted,
            coalesce(c.orders, 0) AS orders
        FROM sold s FULL JOIN counted c USING (branch_id, day)
    )
    SELECT d.branch_id, d.day::timestamp AT TIME ZONE 'UTC' AS hour, d.orders,
        d.sold - coalesce(moved.sold, 0) AS sold, d.counted - coalesce(stale.counted, 0) AS counted
    FROM days d CROSS JOIN same
    LEFT JOIN LATERAL (
        SELECT sum(i.line_total) AS sold
        FROM product_orders p JOIN order_items i USING (order_id)
        LEFT JOIN order_contributions c USING (order_id)
        WHERE abs(d.counted - d.sold) > 0.01 * d.orders
            AND p.branch_id = d.branch_id AND p.day = d.day
            AND c.body_version IS DISTINCT FROM p.body_version
    ) moved ON true
    LEFT JOIN LATERAL (
        SELECT sum(c.total_price) AS counted
        FROM order_contributions c LEFT JOIN product_orders p USING (order_id)
        WHERE abs(d.counted - d.sold) > 0.01 * d.orders AND c.branch_id = d.branch_id
            AND c.hour >= d.day::timestamp AT TIME ZONE 'UTC'
            AND c.hour < (d.day + 1)::timestamp AT TIME ZONE 'UTC'
            AND c.body_version IS DISTINCT FROM p.body_version
    ) stale ON true
    WHERE same.place
    ORDER BY d.branch_id, d.day"""

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
            AND p.subtotal = i.total, false) AS good
        FROM passed p LEFT JOIN LATERAL (
            SELECT count(*) AS lines, sum(line_total) AS total
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
    )
    batches = expect(
        "rows_in_at_least_new",
        "A batch has written more rows than it was given.",
        ExpectColumnPairValuesAToBeGreaterThanB,
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
            "What was sold on a day is not the revenue of the day's hours, to a cent an order.",
        ),
        FactSuite("postgres.orders_processed", "items", ITEMS, load_orders, (items,)),
        FactSuite("postgres.stream_batches", "ledger", LEDGER, load_ledger, (batches,)),
    ]


def _hourly(table: str, rows: Any, name: str, meaning: str) -> FactSuite:
    return FactSuite(f"postgres.{table}", "sums", HOURLY, rows, (null(name, meaning, "differs"),))


def _named(row: Row, differs: str | None) -> Row:
    return {"branch_id": row["branch_id"], "hour": row["hour"], "differs": differs}


def load_metrics(context: AuditContext) -> Iterator[Row]:
    """Per branch and hour: differences between order_metrics and the orders that it counts."""
    rows = context.query(METRICS_SQL, {"start": look_from(context, GOLD_ORDER_HOURLY)})
    return (_named(row, sides(row, _METRICS)) for row in rows)


def load_store(context: AuditContext) -> Iterator[Row]:
    """Per branch and hour: differences between store_hourly and both of its sides."""
    stores = context.stores
    cameras = (c for b in stores.branches for c in b.cameras)
    entrances = [c.camera_id for c in cameras if stores.has_entrance(c)]
    start = look_from(context, GOLD_STORE_HOURLY)
    rows = context.query(STORE_SQL, {"start": start, "entrances": entrances})
    return (_named(row, sides(row, _STORE)) for row in rows)


def load_products(context: AuditContext) -> Iterator[Row]:
    """Per branch and UTC day: revenue by product against revenue by hour.

    An order's total may be a cent from the sum of its lines (rule `total_equals_items`).
    """
    for row in context.query(PRODUCTS_SQL, {"start": look_from(context, GOLD_PRODUCT_DAILY)}):
        differs = abs(row["sold"] - row["counted"]) * 100 > row["orders"]
        both = f"revenue: {row['sold']} sold and {row['counted']} counted"
        yield _named(row, both if differs else None)


def load_orders(context: AuditContext) -> list[dict[str, Any]]:
    """Per branch and hour: orders, and how many of them have as many lines as they declare."""
    return context.query(ORDERS_SQL, {"start": look_from(context, SILVER_ORDERS)})


def load_ledger(context: AuditContext) -> list[dict[str, Any]]:
    """Of each stream the batch that has the fewest rows to spare."""
    return context.query(LEDGER_SQL, {"streams": list(NAMES), "batches": LEDGER_BATCHES})
