"""Order topics -> order_status_history (Postgres, `upsert_order_status()`) and silver.order_status.

Key event_id: one row per `order.status_changed`, with the status before it, the seconds spent
there, a session and an anomaly; and one per alarm, when an order has not changed for
`streams.status_stuck_after`. `order.created` states when the first status began, `order.cancelled`
ends an order; neither makes a row. State per order in Postgres (docs/adr/0009); its timers follow
the stream's watermark. Rows, state and progress commit together: exactly-once in effect.
"""

from datetime import datetime, timezone
from typing import Any

import psycopg
import pyarrow as pa

from streaming.lake.tables import SILVER_ORDER_STATUS
from streaming.runtime.submit import submit
from streaming.sinks.postgres import stage
from streaming.sinks.replicate import replicate
from streaming.steps import VALIDATE_ORDERS
from streaming.stream import ORDERS, Batch, SinkContext, Stream
from streaming.transforms.quarantine import split_validated
from streaming.transforms.watermark import advance_watermark, newest_event_time

STAGE = {
    "event_id": "text",
    "event_type": "text",
    "event_time": "timestamptz",
    "order_id": "text",
    "branch_id": "text",
    "old_status": "text",
    "status": "text",
    "created_at": "timestamptz",
    "version": 'text COLLATE "C"',
    "topic": "text",
    "partition": "integer",
    "position": "text",
}


def write(batch: Batch) -> None:
    """One transaction: changes, state, and the timers that are due."""
    limits = batch.settings.streams
    good, _ = split_validated(batch.rows)  # order_event_processor keeps the rejected ones
    newest = newest_event_time(good, datetime.now(timezone.utc))
    clock = advance_watermark(batch.watermark, newest, limits.watermark)

    def upsert(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
        stage(connection, "status_events", STAGE, rows)
        connection.execute(
            "SELECT upsert_order_status(%s, %s, %s, %s, %s)",
            (
                clock,
                limits.status_stuck_after,
                limits.status_session_gap,
                limits.status_keep_terminal,
                limits.status_keep_stuck,
            ),
        )

    batch.commit(good, upsert)


def on_interval(sink_context: SinkContext) -> None:
    """Replicate new and changed rows."""
    replicate(sink_context, SILVER_ORDER_STATUS)


STREAM = Stream(
    "order_status_tracker",
    source=ORDERS,
    steps=(VALIDATE_ORDERS,),
    watermark=newest_event_time,
    write=write,
    on_interval=on_interval,
)

if __name__ == "__main__":
    submit(STREAM)
