"""Order topics -> order_metrics (Postgres, `upsert_order_metrics()`) and gold.order_hourly.

Key (branch_id, hour). An order counts once, in the UTC hour of its created_at; its newest version
gives status, payment and total. Events later than the allowed lateness are written to late_events,
in the same transaction, and from there to quarantine.late_events. Watermark: the highest event time
seen, less `streams.watermark`; lateness is measured by the watermark of the batches before, which
`stream_watermarks` keeps. Exactly-once in effect.
"""

from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from streaming.lake.tables import GOLD_ORDER_HOURLY
from streaming.progress import fresh
from streaming.replicate import replicate
from streaming.runner import submit
from streaming.shared_sources import ORDER_EVENTS
from streaming.sinks.late_events import insert_late, replicate_late
from streaming.sinks.postgres import stage
from streaming.stream import Batch, SinkContext, Stream
from streaming.transforms.quarantine import split_validated
from streaming.transforms.real_time_metrics import advance_watermark, is_late, marked_late

STAGE = {
    "order_id": "text",
    "branch_id": "text",
    "created_at": "timestamptz",
    "total_price": "text",
    "payment_method": "text",
    "status": "text",
    "version": "text",
}


def write(batch: Batch) -> None:
    """One transaction: what is late is set aside, everything else is counted."""
    limits = batch.context.settings.streams
    good, _ = split_validated(batch.rows)  # order_event_processor keeps the rejected ones
    done, watermark = batch.db.progress(batch.stream)
    new = fresh(good, done)
    after = advance_watermark(watermark, new["event_time"], limits.watermark)
    found: list[int] = []

    def upsert(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
        late = is_late(rows["event_time"], watermark, limits.allowed_lateness)
        set_aside = marked_late(rows.filter(late))
        found.append(set_aside.num_rows)
        if set_aside.num_rows:
            insert_late(connection, set_aside)
        stage(connection, "order_versions", STAGE, rows.filter(pc.invert(late)))
        connection.execute("SELECT upsert_order_metrics(%s, %s)", (after, limits.allowed_lateness))

    batch.commit(good, upsert, watermark=after)
    if count := sum(found):
        batch.metrics.late(batch.stream, count)
        replicate_late(batch)


def on_interval(sink_context: SinkContext) -> None:
    """Replicate changed hours, and late events that a crash has left out."""
    replicate(sink_context, GOLD_ORDER_HOURLY)
    replicate_late(sink_context)


STREAM = Stream("real_time_metrics", ORDER_EVENTS, write, on_interval)

if __name__ == "__main__":
    submit(STREAM)
