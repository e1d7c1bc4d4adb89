"""Order topics -> order_metrics, payments_hourly (Postgres) and their replicas in gold.

`upsert_order_metrics()`: key (branch_id, hour, currency), and of payments the method, too. An order
counts once, in the UTC hour of its created_at; its newest version gives status, payment and total.
A return lowers net revenue in its own hour. Events later than the allowed lateness are written to
late_events, in the same transaction, and from there to quarantine.late_events; imported ones are
never late. Watermark: the newest event time seen, bounded by the broker's time and the present,
less `streams.watermark`
(`transforms/watermark.py`); lateness is measured by the watermark before the batch, which
`stream_watermarks` keeps. Exactly-once in effect.
"""

from datetime import datetime, timezone
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from streaming.lake.tables import GOLD_ORDER_HOURLY, GOLD_PAYMENTS_HOURLY
from streaming.runtime.submit import submit
from streaming.sinks.late_events import insert_late, replicate_late
from streaming.sinks.order_ids import identified
from streaming.sinks.orders import stage_orders
from streaming.sinks.replicate import replicate
from streaming.steps import VALIDATE_ORDERS
from streaming.stream import ORDERS, Batch, SinkContext, Stream
from streaming.transforms.quarantine import split_validated
from streaming.transforms.watermark import (
    clocks_ahead,
    clocks_unreadable,
    is_history,
    is_late,
    marked_late,
    newest_event_time,
)


def write(batch: Batch) -> None:
    """One transaction: what is late is set aside, everything else is counted."""
    good, _ = split_validated(identified(batch))  # order_event_processor keeps the rejected ones
    _name_clocks(batch)

    def upsert(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
        lateness = batch.settings.streams.allowed_lateness
        late = is_late(rows["event_time"], batch.watermark, lateness)
        late = pc.and_not(late, is_history(rows))
        set_aside = marked_late(rows.filter(late))
        if set_aside.num_rows:
            insert_late(connection, set_aside)
            batch.metrics.late(batch.stream, set_aside.num_rows)
        stage_orders(connection, rows.filter(pc.invert(late)) if set_aside.num_rows else rows)
        connection.execute("SELECT upsert_order_metrics()")

    batch.commit(good, upsert)


def _name_clocks(batch: Batch) -> None:
    """Count events of producers with a wrong clock by branch, also those rejected for it."""
    known = pa.array([branch.branch_id for branch in batch.stores.branches])
    rows = batch.rows.filter(pc.is_in(batch.rows["branch_id"], known))
    for branch, count in clocks_ahead(rows, datetime.now(timezone.utc)).items():
        batch.metrics.clock_ahead(batch.stream, branch, count)
    for branch, count in clocks_unreadable(rows).items():
        batch.metrics.clock_unreadable(batch.stream, branch, count)


def on_interval(sink_context: SinkContext) -> None:
    """Close hours that are over, replicate changed hours and late events."""
    with sink_context.db.writing(sink_context.stream) as connection:
        lateness = sink_context.settings.streams.allowed_lateness
        connection.execute("SELECT close_order_hours(%s)", (lateness,))
    replicate(sink_context, GOLD_ORDER_HOURLY)
    replicate(sink_context, GOLD_PAYMENTS_HOURLY)
    replicate_late(sink_context)


STREAM = Stream(
    "real_time_metrics",
    source=ORDERS,
    steps=(VALIDATE_ORDERS,),
    watermark=newest_event_time,
    write=write,
    on_interval=on_interval,
)

if __name__ == "__main__":
    submit(STREAM)
