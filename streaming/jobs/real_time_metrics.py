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
from pyspark.sql import functions as F  # noqa: N812

from streaming.connectors.postgres import stage
from streaming.mirror import mirror
from streaming.runner import Batch, Context, Stream, submit
from streaming.tables import GOLD_ORDER_HOURLY, QUARANTINE_LATE_EVENTS
from streaming.transforms.order_event_processor import judge_order_events, to_silver_orders
from streaming.transforms.quarantine import SOURCE_COLUMNS
from streaming.transforms.real_time_metrics import is_late, to_versions

NAME = "real_time_metrics"
STAGE_DDL = """order_id text, branch_id text, created_at timestamptz, total_price numeric(12, 2),
    payment_method text, status text, version text, event_time timestamptz"""


def build(context: Context) -> DataFrame:
    """Source rows, parsed and judged; the rejected ones are the order_event_processor's to keep."""
    judge = judge_order_events(context.stores, context.settings.streams.max_future_skew)
    return context.read_topics(NAME, *context.settings.kafka.order_topics).transform(judge)


def write(batch: Batch) -> None:
    """Late events aside, then one transaction, then the changed hours to the lake."""
    limits = batch.context.settings.streams
    watermark = batch.db.watermark_before(NAME, batch.id)
    orders = batch.df.transform(to_silver_orders(batch.context.stores))
    late = is_late(F.col("event_time"), watermark, limits.allowed_lateness)
    versions = orders.transform(to_versions, late).toArrow()
    if not versions.num_rows:
        return
    if pc.any(versions["late"]).as_py():
        rejected = orders.where(late).select(*SOURCE_COLUMNS, F.array(F.lit("late")).alias("rules"))
        batch.lake.append(QUARANTINE_LATE_EVENTS, rejected, NAME, batch.id)
    newest: datetime = pc.max(versions["event_time"]).as_py() - limits.watermark
    after = max(watermark, newest) if watermark else newest
    on_time = versions.filter(pc.invert(versions["late"])).drop_columns(["late"])
    batch.db.commit_batch(
        NAME,
        batch.id,
        lambda connection: _upsert(connection, on_time, after, limits.allowed_lateness),
        rows_in=versions.num_rows,
        watermark=after,
    )
    mirror(batch, GOLD_ORDER_HOURLY, "order_metrics", time_key="hour")


def _upsert(
    connection: psycopg.Connection[Any], rows: pa.Table, watermark: datetime, final_after: timedelta
) -> None:
    stage(connection, "order_versions", STAGE_DDL, rows)
    connection.execute("SELECT upsert_order_metrics(%s, %s)", (watermark, final_after))


STREAM = Stream(NAME, build, write)

if __name__ == "__main__":
    submit(STREAM)
