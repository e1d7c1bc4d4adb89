"""Detections topic -> silver.line_crossings, footfall_minute (Postgres) and gold.footfall_minute.

State per track (`transforms/footfall.py`). Keys: (camera_id, run_id, track_id, line_id, crossed_at);
(branch_id, camera_id, minute). Increments and ledger row commit together, the append is guarded:
exactly-once in effect. A minute without a frame has no row, which is what coverage counts.
"""

from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from streaming.connectors.postgres import stage
from streaming.mirror import mirror
from streaming.runner import Batch, Context, Stream, submit
from streaming.tables import GOLD_FOOTFALL_MINUTE, SILVER_LINE_CROSSINGS
from streaming.transforms.footfall import count_crossings, to_crossings, to_increments
from streaming.transforms.silver_detections import judge_detections, to_frames

NAME = "footfall"
STAGE_DDL = """branch_id text, camera_id text, minute timestamptz, frames bigint, entries bigint,
    exits bigint"""


def build(context: Context) -> DataFrame:
    """Frames -> increments per camera run and minute; rejected messages are silver_detections'."""
    limits = context.settings.streams
    return (
        context.read_topics(NAME, context.settings.kafka.detections)
        .transform(judge_detections(context.stores, limits.max_future_skew))
        .transform(to_frames)
        .transform(count_crossings(context.stores, limits.track_ttl))
    )


def write(batch: Batch) -> None:
    """One transaction, then crossings and changed minutes to the lake."""
    # Collected once: a second action would run the state of the batch again.
    minutes = batch.df.toArrow()
    if not minutes.num_rows:
        return
    counted = batch.spark.createDataFrame(minutes).coalesce(1)
    increments = counted.transform(to_increments).toArrow()
    batch.db.commit_batch(
        NAME,
        batch.id,
        lambda connection: _upsert(connection, increments),
        rows_in=pc.sum(minutes["frames"]).as_py(),
    )
    if pc.any(pc.greater(pc.list_value_length(minutes["crossings"]), 0)).as_py():
        version = F.lit(batch.context.stores.version)
        crossings = counted.transform(to_crossings, version)
        batch.lake.append(SILVER_LINE_CROSSINGS, crossings, NAME, batch.id)
    mirror(batch, GOLD_FOOTFALL_MINUTE, "footfall_minute", time_key="minute")


def _upsert(connection: psycopg.Connection[Any], increments: pa.Table) -> None:
    stage(connection, "footfall_increments", STAGE_DDL, increments)
    connection.execute("SELECT upsert_footfall_minute()")


STREAM = Stream(NAME, build, write, output_mode="update")

if __name__ == "__main__":
    submit(STREAM)
