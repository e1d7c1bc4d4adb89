"""Detection events: parse, judge, one row per object. Source rows in; nothing is dropped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from conf.stores import Stores
from streaming.rules import (
    ENVELOPE_MEANINGS,
    UUID,
    has_json_types,
    instant,
    is_instant,
    is_text,
    judge,
)
from streaming.transforms.quarantine import SOURCE_COLUMNS

Transform = Callable[[DataFrame], DataFrame]

EVENT_DDL = """
    event_id string, schema_version int, branch_id string, camera_id string, run_id string,
    frame_index bigint, captured_at string, image struct<width: int, height: int>,
    detections array<struct<track_id: string, class: string, confidence: double,
        bbox: array<double>>>,
    runtime struct<detector: string, model: string, tracker: string, device: string,
        inference_ms: double>,
    _corrupt string"""

_NUMBERS = ("schema_version", "frame_index", "width", "height", "confidence")
_TEXTS = ("event_id", "branch_id", "camera_id", "run_id", "captured_at", "track_id", "class")

DETECTION_MEANINGS = ENVELOPE_MEANINGS | {
    "types_match": "A field has the wrong JSON type, such as a number in quotes.",
    "schema_version_known": "schema_version is not 1, the only one known.",
    "event_id_uuid": "event_id is no UUID.",
    "camera_known": "branch_id and camera_id name no camera of the chain.",
    "run_id_present": "run_id is missing, empty or longer than 64 characters.",
    "frame_index_present": "frame_index is missing or negative.",
    "captured_at_utc": "captured_at is no existing time in UTC, like 2024-05-01T10:00:00Z.",
    "captured_at_not_in_future": "captured_at lies too far after the time of arrival.",
    "image_size_positive": "image has no positive width and height.",
    "detections_present": "detections is missing or has more than 1,000 objects.",
    "objects_complete": "An object lacks its track_id or class, has a longer one than 64 "
    "characters, or has a confidence outside of 0 to 1.",
    "boxes_inside_picture": "The box of an object is not four shares of the picture, left and top "
    "first.",
    "runtime_present": "runtime lacks its detector or model.",
}
"""What each failed rule says about a message, for people."""


def judge_detections(stores: Stores, max_future_skew: timedelta) -> Transform:
    """Source rows -> the same rows with `event` (parsed) and `rules` (array of failed rule ids)."""

    def apply(rows: DataFrame) -> DataFrame:
        return judge(
            rows, EVENT_DDL, "camera_id", lambda text: _content_rules(text, stores, max_future_skew)
        )

    return apply


def _content_rules(text: Column, stores: Stores, skew: timedelta) -> dict[str, Column]:
    event = F.col("event")
    newest = F.col("timestamp") + F.expr(f"INTERVAL {int(skew.total_seconds())} SECONDS")
    cameras = [f"{b.branch_id}/{c.camera_id}" for b in stores.branches for c in b.cameras]
    return {
        "types_match": event._corrupt.isNull() & has_json_types(text, _NUMBERS, _TEXTS),
        "schema_version_known": event.schema_version == 1,
        "event_id_uuid": event.event_id.rlike(UUID),
        "camera_known": F.concat(event.branch_id, F.lit("/"), event.camera_id).isin(*cameras),
        "run_id_present": is_text(event.run_id),
        "frame_index_present": event.frame_index >= 0,
        "captured_at_utc": is_instant(event.captured_at),
        "captured_at_not_in_future": instant(event.captured_at) <= newest,
        "image_size_positive": (event.image.width > 0) & (event.image.height > 0),
        "detections_present": F.size(event.detections).between(0, 1_000),
        "objects_complete": F.forall(
            event.detections,
            lambda d: (
                is_text(d["track_id"]) & is_text(d["class"]) & d["confidence"].between(0.0, 1.0)
            ),
        ),
        "boxes_inside_picture": F.forall(event.detections, lambda d: _is_box(d["bbox"])),
        "runtime_present": event.runtime.detector.isNotNull() & event.runtime.model.isNotNull(),
    }


def _is_box(box: Column) -> Column:
    return (
        (F.size(box) == 4)
        & F.forall(box, lambda v: v.between(0.0, 1.0))
        & (F.get(box, F.lit(0)) < F.get(box, F.lit(2)))
        & (F.get(box, F.lit(1)) < F.get(box, F.lit(3)))
    )


def with_objects(rows: DataFrame) -> DataFrame:
    """Judged rows -> the message, `rules`, the frame's columns and `objects`, one row per message.

    `objects` is an array of what `silver.detections` says of each object; null for a rejected
    message.
    """
    event = F.col("event")

    def one(seen: Column) -> Column:
        x1, y1, x2, y2 = (F.get(seen["bbox"], F.lit(i)) for i in range(4))
        return F.struct(
            seen["track_id"].alias("track_id"),
            seen["class"].alias("class"),
            seen["confidence"].alias("confidence"),
            x1.alias("x1"),
            y1.alias("y1"),
            x2.alias("x2"),
            y2.alias("y2"),
            ((x1 + x2) / 2).alias("anchor_x"),
            y2.alias("anchor_y"),
        )

    return rows.select(
        *SOURCE_COLUMNS,
        "rules",
        *(event[n].alias(n) for n in ("event_id", "branch_id", "camera_id", "run_id")),
        event.frame_index.alias("frame_index"),
        instant(event.captured_at).alias("captured_at"),
        event.image.width.alias("image_width"),
        event.image.height.alias("image_height"),
        *(event.runtime[n].alias(n) for n in ("detector", "model", "tracker")),
        F.transform(event.detections, one).alias("objects"),
    )


def to_silver_detections(frames: pa.Table) -> pa.Table:
    """Good rows of `with_objects` -> rows of `silver.detections`; an empty frame has none."""
    objects = frames["objects"].combine_chunks()
    of_frame = frames.drop_columns(["objects"]).take(pc.list_parent_indices(objects))
    for name, column in zip(
        objects.type.value_type.names, pc.list_flatten(objects).flatten(), strict=True
    ):
        of_frame = of_frame.append_column(name, column)
    return of_frame


def to_frames(rows: DataFrame) -> DataFrame:
    """Judged rows -> one row per message with the anchor points of its people.

    No filter here: Spark would push it below the parsing, with all rules in it, and each of them
    would parse the message again.

    Columns: branch_id, camera_id, run_id, frame (all null for a rejected message), topic,
    partition, position. `frame` is JSON: index, at (microseconds since 1970 in UTC), and ids, xs,
    ys of the people, whose anchor is the bottom centre of the box. A text crosses to Python in one
    piece, where nested columns would cross value by value.
    """
    event = F.col("event")
    people = F.filter(event.detections, lambda d: d["class"] == "person")
    frame = F.struct(
        event.frame_index.alias("index"),
        F.unix_micros(instant(event.captured_at)).alias("at"),
        F.transform(people, lambda d: d["track_id"]).alias("ids"),
        F.transform(
            people, lambda d: (F.get(d["bbox"], F.lit(0)) + F.get(d["bbox"], F.lit(2))) / 2
        ).alias("xs"),
        F.transform(people, lambda d: F.get(d["bbox"], F.lit(3))).alias("ys"),
    )
    good = F.size("rules") == 0
    return rows.select(
        *(F.when(good, event[n]).alias(n) for n in ("branch_id", "camera_id", "run_id")),
        F.when(good, F.to_json(frame)).alias("frame"),
        "topic",
        "partition",
        "position",
    )
