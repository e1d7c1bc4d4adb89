"""The sums of order_metrics and the order of messages, recomputed offline in DuckDB from bronze.

It shares no code with the streams: bytes in, SQL, sums out.
"""

from __future__ import annotations

import duckdb

from quality.reconciliation import DETECTIONS, LATE_ORDERS, ORDERS, POSITION, Difference
from streaming.lake.protocol import Lake
from streaming.sinks.postgres import Database

_SUMS = """
    WITH event AS (
        SELECT text->>'$.event_type' AS kind, text->'$.order' AS body,
            ((text->>'$.event_time')::timestamp,
                list_position(['order.created', 'order.updated', 'order.returned',
                    'order.status_changed', 'order.cancelled'], kind),
                topic, partition, position) AS moment
        FROM (SELECT try(decode(value)) AS text, topic, partition, position FROM bronze)
            SEMI JOIN good USING (topic, partition, position)
            ANTI JOIN late USING (topic, partition, position)),
    change AS (
        SELECT body->>'$.order_id' AS order_id, moment, kind,
            coalesce(body->>'$.new_status', CASE kind WHEN 'order.cancelled' THEN 'cancelled' END,
                body->>'$.status') AS status,
            (body->>'$.total_price')::decimal(18, 4) AS total, body->>'$.branch_id' AS branch_id,
            body->>'$.currency' AS currency,
            date_trunc('hour', (body->>'$.created_at')::timestamp) AS hour
        FROM event),
    newest AS (
        SELECT order_id, arg_max(status, moment) AS status,
            arg_max(struct_pack(kind, total, branch_id, currency, hour), moment)
                FILTER (total IS NOT NULL) AS sale
        FROM change GROUP BY order_id)
    SELECT sale.branch_id, sale.hour, sale.currency,
        count(*) FILTER (sale.kind <> 'order.returned') AS orders,
        coalesce(sum(sale.total) FILTER (sale.kind <> 'order.returned'), 0) AS total_revenue,
        coalesce(sum(sale.total) FILTER (status <> 'cancelled'), 0) AS net_revenue
    FROM newest WHERE sale IS NOT NULL GROUP BY 1, 2, 3"""

_STORED = """
    SELECT branch_id, hour, currency, order_count, total_revenue, net_revenue FROM order_metrics"""

_FRAMES_OUT_OF_ORDER = """
    WITH frame AS (
        SELECT text->>'$.run_id' AS run_id, topic, partition, position,
            (text->>'$.frame_index')::bigint AS number
        FROM (SELECT try(decode(value)) AS text, topic, partition, position FROM frames)
            SEMI JOIN seen USING (topic, partition, position))
    SELECT DISTINCT run_id FROM (
        SELECT run_id, number, lag(number) OVER (
            PARTITION BY run_id, topic, partition ORDER BY position) AS before FROM frame)
    WHERE number <= before"""


def recompute(db: Database, lake: Lake) -> list[Difference]:
    """Compare order_metrics with bronze, and the positions of frames with their indexes.

    Grain of the sums: branch, hour (UTC) and currency. An order counts once, with its newest total
    and status, in the hour of its `created_at`; late events do not count.
    """
    with duckdb.connect() as duck:
        for name, table, columns in (
            ("bronze", ORDERS.received, ("value",)),
            ("good", ORDERS.good, ()),
            ("late", LATE_ORDERS, ()),
            ("frames", DETECTIONS.received, ("value",)),
            ("seen", DETECTIONS.good, ()),
        ):
            duck.register(name, lake.read(table.name, (*POSITION, *columns)))
        wanted = {_row(row) for row in duck.sql(_SUMS).fetchall()}
        disordered = [str(run) for (run,) in duck.sql(_FRAMES_OUT_OF_ORDER).fetchall()]
    stored = {_row(tuple(row.values())) for row in db.fetch(_STORED)}
    return [
        Difference(
            "unexpected", "sums of order_metrics that bronze does not give", stored - wanted
        ),
        Difference("missing", "sums of bronze that order_metrics lacks", wanted - stored),
        Difference("unexpected", "runs of cameras whose frames are out of order", disordered),
    ]


def _row(values: tuple[object, ...]) -> str:
    branch, hour, currency, *sums = values
    return f"{branch} {hour:%Y-%m-%dT%H} {currency} {' '.join(f'{one:.4f}' for one in sums)}"
