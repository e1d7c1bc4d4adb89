"""Detections topic -> silver.line_crossings, footfall_minute (Postgres) and gold.footfall_minute.

State per track (`transforms/footfall.py`). Keys: (camera_id, run_id, track_id, line_id,
crossed_at); (branch_id, camera_id, minute). Increments and ledger row commit together, the append
is guarded: exactly-once in effect. A minute without a frame has no row: coverage counts that.
"""

from typing import Any

import psycopg
import pyarrow as pa

from streaming.connectors.postgres import stage
from streaming.feeds import CROSSINGS
from streaming.mirror import mirror
from streaming.runner import Batch, Hands, Stream, submit
from streaming.tables import GOLD_FOOTFALL_MINUTE, SILVER_LINE_CROSSINGS
from streaming.transforms.footfall import to_crossings

STAGE = {
    "branch_id": "text",
    "camera_id": "text",
    "captured_at": "timestamptz",
    "entries": "bigint",
    "exits": "bigint",
}


def write(batch: Batch) -> None:
    """One transaction, then the crossings to the lake."""
    batch.db.commit_batch(batch.stream, batch.id, batch.rows, _upsert)
    version = batch.context.stores.version
    batch.lake.append(SILVER_LINE_CROSSINGS, to_crossings(batch.rows, version), batch.id)


def settle(hands: Hands) -> None:
    """Changed minutes to the lake."""
    mirror(hands, GOLD_FOOTFALL_MINUTE, "footfall_minute", time_key="minute")


def _upsert(connection: psycopg.Connection[Any], frames: pa.Table) -> None:
    stage(connection, "frame_counts", STAGE, frames)
    connection.execute("SELECT upsert_footfall_minute()")


STREAM = Stream("footfall", CROSSINGS, write, settle)

if __name__ == "__main__":
    submit(STREAM)
