"""Order topics -> order_status_history (Postgres) and silver.order_status.

Source rows -> parse and validate -> state of orders in Spark (`transforms/order_status.py`) -> rows
of the history, one transaction. Key event_id: one row per `order.status_changed`, with the status
before it, the seconds spent there, a session and an anomaly; and one per alarm, when an order has
not changed for `streams.status_stuck_after`. `order.created` states when the first status began,
`order.cancelled` ends an order; neither makes a row. The clock is the stream's watermark, which a
heartbeat of the source advances while nothing happens. Rows are absolute values and commit with
their positions: exactly-once in effect. A new checkpoint restores the state from Postgres.
"""

from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from streaming.lake.tables import SILVER_ORDER_STATUS
from streaming.runtime.submit import submit
from streaming.sinks.order_status import write_history
from streaming.sinks.postgres import advance_stored_watermark
from streaming.sinks.replicate import replicate
from streaming.steps import IDENTIFY_ORDERS, TRACK_STATUS, VALIDATE_ORDERS
from streaming.stream import ORDERS_AND_HEARTBEATS, Batch, SinkContext, Stream


def write(batch: Batch) -> None:
    """One transaction, with the clock: a new checkpoint starts from both."""
    clock = pc.max(batch.rows["clock"]).as_py()

    def upsert(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
        write_history(connection, rows)
        advance_stored_watermark(connection, batch.stream, clock)
        if batch.id == 1:  # the first batch of the checkpoint has restored it
            connection.execute("DELETE FROM order_status_state")

    batch.commit(batch.rows, upsert)
    batch.metrics.watermark(batch.stream, clock)


def on_interval(sink_context: SinkContext) -> None:
    """Replicate new and changed rows."""
    replicate(sink_context, SILVER_ORDER_STATUS)


STREAM = Stream(
    "order_status_tracker",
    source=ORDERS_AND_HEARTBEATS,
    steps=(VALIDATE_ORDERS, IDENTIFY_ORDERS),
    state=TRACK_STATUS,
    pace=4,
    write=write,
    on_interval=on_interval,
)

if __name__ == "__main__":
    submit(STREAM)
