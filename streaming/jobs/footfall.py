"""Detections topic -> line crossings, zone visits, footfall, dwell and queues (Postgres, lake).

State per track (`transforms/tracks.py`), in one value per camera. Keys: (camera_id, run_id,
track_id, line_id, crossed_at); (camera_id, run_id, track_id, zone_id, entered_at); per branch and
camera the minute, and with the zone the minute and the hour. Rows, increments and ledger row of a
batch commit together; the interval task then updates hours and waits by change ids and replicates
the tables to the lake: exactly-once in effect. A minute without a frame has no row: coverage
counts that.
"""

from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from streaming.lake.tables import (
    GOLD_FOOTFALL_MINUTE,
    GOLD_QUEUE_MINUTE,
    GOLD_ZONE_DWELL_HOURLY,
    SILVER_LINE_CROSSINGS,
    SILVER_ZONE_VISITS,
)
from streaming.runtime.submit import submit
from streaming.sinks.postgres import stage
from streaming.sinks.replicate import replicate
from streaming.steps import FOLLOW_TRACKS, TO_FRAMES, VALIDATE_DETECTIONS
from streaming.stream import DETECTIONS, Batch, SinkContext, Stream
from streaming.transforms.footfall import TrackingOutput, to_output

STAGE = {
    "branch_id": "text",
    "camera_id": "text",
    "captured_at": "timestamptz",
    "entries": "bigint",
    "exits": "bigint",
    "frames": "bigint",
    "late_frames": "bigint",
    "people": "bigint",
}
_RUN = {"branch_id": "text", "camera_id": "text", "run_id": "text", "track_id": "text"}
_LAYOUT = {"kind": "text", "is_staff": "boolean", "layout_version": "integer"}
CROSSINGS_STAGE = {
    **_RUN,
    "line_id": "text",
    "direction": "text",
    "crossed_at": "timestamptz",
    **_LAYOUT,
    "group_id": "text",
    "group_entered_at": "timestamptz",
}
VISITS_STAGE = {
    **_RUN,
    "zone_id": "text",
    "entered_at": "timestamptz",
    "exited_at": "timestamptz",
    "is_open": "boolean",
    **_LAYOUT,
}
QUEUES_STAGE = {
    "branch_id": "text",
    "camera_id": "text",
    "zone_id": "text",
    "captured_at": "timestamptz",
    "people": "bigint",
}


def write(batch: Batch) -> None:
    """One transaction."""
    if batch.commit(batch.rows, _upsert):
        batch.metrics.late(batch.stream, pc.sum(batch.rows["late_frames"]).as_py())
        newest = pc.max(batch.rows["captured_at"].cast(pa.timestamp("us", "UTC"))).as_py()
        batch.metrics.watermark(batch.stream, newest)


def on_interval(sink_context: SinkContext) -> None:
    """Close idle visits, refresh dwell and waits, replicate changed rows."""
    with sink_context.db.writing(sink_context.stream) as connection:
        connection.execute(
            "SELECT close_silent_visits(%s)", (sink_context.settings.streams.track_ttl,)
        )
        connection.execute("SELECT upsert_zone_dwell_hourly(), upsert_queue_waits()")
    replicate(sink_context, SILVER_LINE_CROSSINGS)
    replicate(sink_context, SILVER_ZONE_VISITS)
    replicate(sink_context, GOLD_ZONE_DWELL_HOURLY)
    replicate(sink_context, GOLD_QUEUE_MINUTE)


def copy(sink_context: SinkContext) -> None:
    """Replicate footfall, which readers of the lake expect within seconds."""
    replicate(sink_context, GOLD_FOOTFALL_MINUTE)


def stage_output(connection: psycopg.Connection[Any], output: TrackingOutput) -> None:
    """Write the output to the temporary tables that the functions of the database read."""
    stage(connection, "frame_counts", STAGE, output.counts)
    stage(connection, "seen_crossings", CROSSINGS_STAGE, output.crossings)
    stage(connection, "seen_visits", VISITS_STAGE, output.visits)
    stage(connection, "queue_lengths", QUEUES_STAGE, output.queues)
    stage(connection, "seen_staff", _RUN, output.staff)


def _upsert(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    stage_output(connection, to_output(rows))
    connection.execute("SELECT insert_crossings()")  # before the minutes, which count them
    connection.execute("SELECT upsert_footfall_minute()")
    connection.execute("SELECT upsert_visits()")
    connection.execute("SELECT upsert_queue_lengths()")
    connection.execute("SELECT exclude_staff()")
    connection.execute("SELECT recount_people()")  # after all that changes crossings


STREAM = Stream(
    "footfall",
    source=DETECTIONS,
    steps=(VALIDATE_DETECTIONS, TO_FRAMES),
    state=FOLLOW_TRACKS,
    pace=4,
    write=write,
    on_interval=on_interval,
    copy=copy,
)

if __name__ == "__main__":
    submit(STREAM)
