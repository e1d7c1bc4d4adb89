"""Detection events: parse, judge, one row per object. Source rows in; nothing is dropped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from conf.stores import Stores
from streaming.checks import Fields, Message, compiled, instant
from streaming.rules import judge
from streaming.transforms.detection_rules import detection_rules
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
SIDES = ("x1", "y1", "x2", "y2")


def judge_detections(stores: Stores, max_future_skew: timedelta) -> Transform:
    """Source rows -> the same rows with `event` (parsed) and `rules` (array of failed rule ids)."""
    cameras = [(b.branch_id, c.camera_id) for b in stores.branches for c in b.cameras]
    rules = detection_rules(cameras, max_future_skew)

    def apply(rows: DataFrame) -> DataFrame:
        return judge(
            rows, EVENT_DDL, "camera_id", lambda text: compiled(rules, frame_message(text))
        )

    return apply


def frame_message(text: Column) -> Message:
    """A parsed event beside its text, for `detection_rules`: each field by its column in silver."""
    event = F.col("event")
    names = (
        *("event_id", "branch_id", "camera_id", "run_id", "frame_index", "captured_at"),
        *("schema_version", "_corrupt"),
    )
    return Message(
        fields={
            **{name: event[name] for name in names},
            "image_width": event.image.width,
            "image_height": event.image.height,
            "detector": event.runtime.detector,
            "model": event.runtime.model,
            "object_count": F.size(event.detections),
            "timestamp": F.col("timestamp"),
            "_text": text,
        },
        elements=event.detections,
        of_element=_object_fields,
    )


def _object_fields(seen: Column) -> Fields:
    sides = {name: F.get(seen["bbox"], F.lit(i)) for i, name in enumerate(SIDES)}
    # A shorter box has a null for a side. So has a longer one: one side is asked, as it costs.
    sides["y2"] = F.when(F.size(seen["bbox"]) == len(SIDES), sides["y2"])
    return {**{name: seen[name] for name in ("track_id", "class", "confidence")}, **sides}


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
