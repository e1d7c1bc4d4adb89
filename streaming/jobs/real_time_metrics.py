"""Order topics -> order_metrics (Postgres, `upsert_order_metrics()`) and gold.order_hourly.

Key (branch_id, hour). An order counts once, in the UTC hour of its created_at; its newest version
gives status, payment and total. Events later than the allowed lateness go to
quarantine.late_events. Watermark: the highest event time seen, less `streams.watermark`; a batch is
judged by the watermark of the batches before it, which the ledger keeps. Exactly-once in effect.
"""

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from streaming.connectors.postgres import stage
from streaming.mirror import mirror
from streaming.runner import Batch, Context, Stream, submit
from streaming.tables import GOLD_ORDER_HOURLY, QUARANTINE_LATE_EVENTS
from streaming.transforms.order_event_processor import judge_order_events, to_silver_orders
from streaming.transforms.quarantine import SOURCE_COLUMNS, split_judged
from streaming.transforms.real_time_metrics import is_late

NAME = "real_time_metrics"
STAGE = {
    "order_id": "text",
    "branch_id": "text",
    "created_at": "timestamptz",
    "total_price": "numeric(12, 2)",
    "payment_method": "text",
    "status": "text",
    "version": "text",
}


def build(context: Context) -> DataFrame:
    """Source rows, parsed, judged, typed; only what metrics and late events need."""
    judge = judge_order_events(context.stores, context.settings.streams.max_future_skew)
    return (
        context.read_topics(NAME, *context.settings.kafka.order_topics)
        .transform(judge)
        .transform(to_silver_orders(context.stores))
        .select(*STAGE, "event_time", *SOURCE_COLUMNS, "rules")
    )


def write(batch: Batch) -> None:
    """Late events aside, then one transaction, then the changed hours to the lake."""
    limits = batch.context.settings.streams
    good, _ = split_judged(batch.rows)  # the rejected ones are the order_event_processor's to keep
    if not good.num_rows:
        return
    before = batch.db.watermark_before(NAME, batch.id)
    late = is_late(good["event_time"], before, limits.allowed_lateness)
    batch.append(QUARANTINE_LATE_EVENTS, _marked_late(good.filter(late)))
    newest: datetime = pc.max(good["event_time"]).as_py() - limits.watermark
    after = max(before, newest) if before else newest
    on_time = good.filter(pc.invert(late)).select(list(STAGE))
    batch.db.commit_batch(
        NAME,
        batch.id,
        lambda connection: _upsert(connection, on_time, after, limits.allowed_lateness),
        rows_in=good.num_rows,
        watermark=after,
    )
    mirror(batch, GOLD_ORDER_HOURLY, "order_metrics", time_key="hour")


def _marked_late(rows: pa.Table) -> pa.Table:
    rules = pa.array([["late"]] * rows.num_rows, pa.list_(pa.string()))
    return rows.select(list(SOURCE_COLUMNS)).append_column("rules", rules)


def _upsert(
    connection: psycopg.Connection[Any], rows: pa.Table, watermark: datetime, final_after: timedelta
) -> None:
    stage(connection, "order_versions", STAGE, rows)
    connection.execute("SELECT upsert_order_metrics(%s, %s)", (watermark, final_after))


STREAM = Stream(NAME, build, write)

if __name__ == "__main__":
    submit(STREAM)
