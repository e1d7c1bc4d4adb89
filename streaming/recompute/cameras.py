"""Recompute hours of cameras from bronze, with the transforms of the stream.

Every run with a frame in the window is tracked from its first frame on, with the current layouts
and with late frames in their place. Then crossings, visits, footfall and queue lengths of the
window are replaced in one transaction that no batch of the stream overlaps; dwell, waits,
`store_hourly` and the lake follow by change ids. Recomputing a window twice changes nothing, and
the result equals the stream's when no frame is late.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import SparkSession
from pyspark.sql import Window as Over
from pyspark.sql import functions as F  # noqa: N812
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from conf.settings import Settings
from conf.stores import load_stores
from streaming.jobs import footfall
from streaming.lake.formats import open_lake, spark_table
from streaming.lake.tables import BRONZE_DETECTIONS
from streaming.progress import Progress
from streaming.recompute.window import RestateError, spark_and_database, up_to, whole_hours
from streaming.sinks.postgres import Database, stage
from streaming.steps import TO_FRAMES, VALIDATE_DETECTIONS, in_tasks, track_rules
from streaming.transforms.footfall import CAMERA, RUN, TrackingOutput, follow_whole_runs, to_output

LONGEST_RUN = timedelta(days=1)
"""A run ends at midnight in UTC at the latest (`inference_service.events.Run`)."""

BRONZE_SECONDS = 60.0
"""How long to wait until bronze has the positions of the footfall."""

ATTEMPTS = 3

_NEWEST_SQL = """
    SELECT coalesce(max(change_id), 0) AS change_id FROM footfall_minute
    WHERE minute >= %(start)s AND minute < %(end)s"""

_NOTE_SQL = """
    INSERT INTO restated_camera_hours (hour, frames, crossings, visits)
    SELECT h, (SELECT coalesce(sum(frames), 0) FROM footfall_minute
            WHERE minute >= h AND minute < h + interval '1 hour'),
        (SELECT count(*) FROM line_crossings WHERE NOT withdrawn
            AND crossed_at >= h AND crossed_at < h + interval '1 hour'),
        (SELECT count(*) FROM zone_visits WHERE NOT withdrawn
            AND entered_at >= h AND entered_at < h + interval '1 hour')
    FROM generate_series(%(start)s, %(end)s - interval '1 hour', interval '1 hour') h
    RETURNING hour, frames, crossings, visits"""


Window = dict[str, datetime]
"""start and end, in UTC."""


@dataclass(frozen=True)
class RestatedCameras:
    """Frames, crossings and visits of all cameras in one UTC hour, after the recomputation."""

    hour: datetime
    frames: int
    crossings: int
    visits: int


def restate_cameras(
    settings: Settings, start: datetime, end: datetime, notify: Callable[[str], None]
) -> list[RestatedCameras]:
    """Recompute crossings, visits, footfall and queue lengths in [start, end).

    Args:
        settings: of the deployment, whose streams may be running.
        start: the first hour, with a time zone.
        end: the hour after the last one.
        notify: called with each step, for the user.

    Returns:
        One entry per hour, also for an hour without a frame.

    Raises:
        RestateError: the window is empty or not of whole hours; frames of it are still arriving;
            bronze is behind the footfall.
    """
    start, end = whole_hours(start, end)
    window = {"start": start, "end": end}
    with spark_and_database(settings) as (spark, db):
        for _ in range(ATTEMPTS):
            before, done = _counted(db, window)
            notify("waiting for bronze")
            _wait_for_bronze(settings, done)
            notify("following the tracks")
            followed = _follow(settings, spark, done, window)
            notify("writing")
            hours = _apply(db, followed, before, window)
            if hours is not None:
                return hours
    raise RestateError(
        f"Frames between {start:%Y-%m-%d %H:%M} and {end:%H:%M} are still arriving: end the "
        "window at an hour that is over, or try again later."
    )


def _counted(db: Database, window: Window) -> tuple[int, Progress]:
    """The newest change of the window, and the positions of the stream at that time."""
    with db.writing(footfall.STREAM.name):
        (row,) = db.fetch(_NEWEST_SQL, window)
        done, _ = db.progress(footfall.STREAM.name)
        return int(row["change_id"]), done


def _wait_for_bronze(settings: Settings, done: Progress) -> None:
    def behind() -> bool:
        with open_lake(settings) as lake:
            bronze = lake.progress(BRONZE_DETECTIONS)
        return any(bronze.get(at, "") < position for at, position in done.items())

    try:
        Retrying(
            retry=retry_if_result(bool), stop=stop_after_delay(BRONZE_SECONDS), wait=wait_fixed(1)
        )(behind)
    except RetryError as error:
        raise RestateError(
            "bronze.detections is behind the footfall: run the stream bronze_detections, too."
        ) from error


def _follow(
    settings: Settings, spark: SparkSession, done: Progress, window: Window
) -> tuple[TrackingOutput, pa.Table]:
    """Tracking output of the runs with a frame in the window, and these runs."""
    stores, limits = load_stores(settings.stores_file), settings.streams
    # The broker's time is at most the allowed skew before the event time.
    oldest = window["start"] - LONGEST_RUN - limits.max_future_skew
    at, arrived = (F.get_json_object("frame", f"$.{n}").cast("long") for n in ("at", "arrived"))
    frames = (
        spark_table(spark, settings, BRONZE_DETECTIONS)
        .where((F.col("timestamp") >= F.lit(oldest)) & up_to(done))
        .transform(in_tasks((VALIDATE_DETECTIONS, TO_FRAMES), settings, stores))
        .withColumn("at", at)
        .withColumn("newest", F.max(arrived).over(Over.partitionBy(*CAMERA)))
        .persist(StorageLevel.DISK_ONLY)
        .where(F.col("branch_id").isNotNull())
    )
    low, high = (int(window[name].timestamp() * 1e6) for name in ("start", "end"))
    inside = (F.col("at") >= low) & (F.col("at") < high)
    runs = frames.where(inside).select(*RUN).distinct()
    whole = frames.join(runs, list(RUN), "left_semi")
    rows = whole.transform(follow_whole_runs(stores, track_rules(limits))).toArrow()
    return to_output(rows), runs.toArrow()


def _apply(
    db: Database, followed: tuple[TrackingOutput, pa.Table], before: int, window: Window
) -> list[RestatedCameras] | None:
    """Replace the window; None when more frames of it have arrived."""
    output, runs = followed
    with db.writing(footfall.STREAM.name) as connection:
        (newest,) = connection.execute(_NEWEST_SQL.encode(), window).fetchone() or (0,)
        if newest != before:
            return None
        footfall.stage_output(connection, output)
        stage(connection, "restated_runs", dict.fromkeys(RUN, "text"), runs)
        connection.execute("SELECT restate_cameras(%(start)s, %(end)s)", window)
        connection.execute("SELECT upsert_zone_dwell_hourly(), upsert_queue_waits()")
        rows = connection.execute(_NOTE_SQL.encode(), window).fetchall()
    return [RestatedCameras(*row) for row in rows]
