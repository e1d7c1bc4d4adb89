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

from streaming.connectors.postgres import stage
from streaming.mirror import mirror
from streaming.runner import Batch, Context, Stream, submit
from streaming.tables import GOLD_FOOTFALL_MINUTE, SILVER_LINE_CROSSINGS
from streaming.transforms.footfall import count_crossings, to_crossings
from streaming.transforms.silver_detections import judge_detections, to_frames

NAME = "footfall"
STAGE = {
    "branch_id": "text",
    "camera_id": "text",
    "minute": "timestamptz",
    "frames": "bigint",
    "entries": "bigint",
    "exits": "bigint",
}


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
    if not batch.rows.num_rows:
        return
    increments = batch.rows.select(list(STAGE))
    batch.db.commit_batch(
        NAME,
        batch.id,
        lambda connection: _upsert(connection, increments),
        rows_in=pc.sum(increments["frames"]).as_py(),
    )
    version = batch.context.stores.version
    batch.append(SILVER_LINE_CROSSINGS, to_crossings(batch.rows, version))
    mirror(batch, GOLD_FOOTFALL_MINUTE, "footfall_minute", time_key="minute")


def _upsert(connection: psycopg.Connection[Any], increments: pa.Table) -> None:
    stage(connection, "footfall_increments", STAGE, increments)
    connection.execute("SELECT upsert_footfall_minute()")


STREAM = Stream(NAME, build, write, output_mode="update")

if __name__ == "__main__":
    submit(STREAM)
