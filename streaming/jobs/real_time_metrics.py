"""Order topics -> order_metrics (Postgres, `upsert_order_metrics()`) and gold.order_hourly.

Key (branch_id, hour). An order counts once, in the UTC hour of its created_at; its newest version
gives status, payment and total. Events later than the allowed lateness go to
quarantine.late_events. Watermark: the highest event time seen, less `streams.watermark`; a batch is
judged by the watermark of the batches before it, which the ledger keeps. Exactly-once in effect.
"""

from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from streaming.connectors.postgres import stage
from streaming.feeds import ORDER_EVENTS
from streaming.mirror import mirror
from streaming.progress import fresh
from streaming.runner import Batch, Hands, Stream, submit
from streaming.tables import GOLD_ORDER_HOURLY, QUARANTINE_LATE_EVENTS
from streaming.transforms.quarantine import split_judged
from streaming.transforms.real_time_metrics import advance_watermark, is_late, marked_late

STAGE = {
    "order_id": "text",
    "branch_id": "text",
    "created_at": "timestamptz",
    "total_price": "numeric(12, 2)",
    "payment_method": "text",
    "status": "text",
    "version": "text",
}


def write(batch: Batch) -> None:
    """Late events aside, then one transaction."""
    limits = batch.context.settings.streams
    good, _ = split_judged(batch.rows)  # the rejected ones are the order_event_processor's to keep
    done, watermark = batch.db.progress(batch.stream)
    new = fresh(good, done)
    after = advance_watermark(watermark, new["event_time"], limits.watermark)
    if new.num_rows:
        late = is_late(new["event_time"], watermark, limits.allowed_lateness)
        late_rows = marked_late(new.filter(late))
        batch.meters.late(batch.append(QUARANTINE_LATE_EVENTS, late_rows))

    def upsert(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
        late = is_late(rows["event_time"], watermark, limits.allowed_lateness)
        stage(connection, "order_versions", STAGE, rows.filter(pc.invert(late)))
        connection.execute("SELECT upsert_order_metrics(%s, %s)", (after, limits.allowed_lateness))

    batch.commit(good, upsert, watermark=after)


def settle(hands: Hands) -> None:
    """Changed hours to the lake."""
    mirror(hands, GOLD_ORDER_HOURLY)


STREAM = Stream("real_time_metrics", ORDER_EVENTS, write, settle)

if __name__ == "__main__":
    submit(STREAM)
