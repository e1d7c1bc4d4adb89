"""Order topics -> order_items_analytics (Postgres, `upsert_order_items()`) and gold.product_daily.

Key (branch_id, day, product_id, currency). An order counts once, with the lines of its newest
body, on the UTC day of its created_at; once its newest status is cancelled, its lines leave the net
columns, and lines of a return lower them on the day of the return.
Every good event counts, however late: no day is ever final, so there is no watermark here, and
only real_time_metrics writes quarantine.late_events. Exactly-once in effect.

Pairs of products bought together are not kept: an order of n lines has n (n - 1) / 2 of them, which
would make this the largest table of all. `order_items` answers that question on demand.
"""

from typing import Any

import psycopg
import pyarrow as pa

from streaming.lake.tables import GOLD_PRODUCT_DAILY
from streaming.runtime.submit import submit
from streaming.sinks.order_ids import identified
from streaming.sinks.orders import stage_orders
from streaming.sinks.replicate import replicate
from streaming.steps import VALIDATE_ORDERS
from streaming.stream import ORDERS, Batch, SinkContext, Stream
from streaming.transforms.quarantine import split_validated


def write(batch: Batch) -> None:
    """One transaction; order_event_processor keeps the rejected rows."""
    good, _ = split_validated(identified(batch))
    batch.commit(good, _upsert)


def on_interval(sink_context: SinkContext) -> None:
    """Replicate changed products."""
    replicate(sink_context, GOLD_PRODUCT_DAILY)


def _upsert(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    stage_orders(connection, rows)
    connection.execute("SELECT upsert_order_items()")


STREAM = Stream(
    "product_analytics",
    source=ORDERS,
    steps=(VALIDATE_ORDERS,),
    write=write,
    on_interval=on_interval,
)

if __name__ == "__main__":
    submit(STREAM)
